/**
 * Puts back what another program removed or changed of a role's things on its host: at a bounded rate, with one event
 * for each repair. What it cannot put back, or gave way about, is a reason in `/readyz` until it stands again.
 */
import type { Events } from '../events/events.js';
import type { Deviation } from '../steer/standing.js';
import { MOST_REPAIRS, Repairs } from './repairs.js';

export class Reconciler {
  readonly #repairs = new Repairs();
  readonly #counts = new Map<string, number>();
  /** What does not stand now, by its subject: a sentence for the operator. */
  #left = new Map<string, string>();

  constructor(readonly events: Events) {}

  /**
   * @param found what does not stand now
   * @param by who may have done it, as ` by NAME (pid N)`; '' where the kernel does not tell
   */
  async reconcile(found: readonly Deviation[], by: string, nowMs: number): Promise<void> {
    const left = new Map<string, string>();
    for (const d of found) {
      const reason = await this.#putBack(d, by, nowMs);
      if (reason !== '') left.set(d.subject, reason);
    }
    for (const subject of this.#left.keys())
      if (!left.has(subject)) this.events.say('info', 'stands-again', subject, `${subject} stands again`);
    this.#left = left;
  }

  /** @returns why it does not stand now; '' when it was put back */
  async #putBack(d: Deviation, by: string, nowMs: number): Promise<string> {
    // The kernel names who changed nftables rules, and nothing else.
    const who = d.what === 'table' ? by : '';
    const what = `${d.subject} ${d.detail}${who}`;
    const before = this.#left.get(d.subject);
    const verdict = this.#repairs.verdict(d.subject, nowMs);
    if (verdict !== 'repair') {
      const reason = `${d.subject} ${d.detail} again and again${who}: no longer put back`;
      if (verdict === 'gives-way')
        this.events.say('error', 'gives-way', d.subject, reason, { what: d.what, repairs: MOST_REPAIRS });
      return verdict === 'gives-way' ? reason : (before ?? reason);
    }
    try {
      await d.repair();
    } catch (error) {
      this.#repairs.failed(d.subject);
      const why = (error as Error).message.split('\n')[0];
      const reason = `${d.subject} ${d.detail}, and could not be put back: ${why}`;
      if (before !== reason) this.events.say('error', 'repair-failed', d.subject, reason, { what: d.what });
      return reason;
    }
    this.#counts.set(d.what, (this.#counts.get(d.what) ?? 0) + 1);
    this.events.say('warn', 'repaired', d.subject, `${what}: put back`, { what: d.what });
    return '';
  }

  /** Repairs so far, by kind. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  /** What does not stand, for `/readyz`. */
  get reasons(): string[] {
    return [...this.#left.values()];
  }
}
