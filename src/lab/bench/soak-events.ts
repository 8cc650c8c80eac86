/** Carries a schedule out: replicas drained, stopped, killed, and brought back; every moment is written down. */
import { ask } from '../admin-client.js';
import type { Lab } from '../lab.js';
import { pause, waitUntil } from '../process.js';
import type { Blow } from './soak-account.js';
import type { Planned } from './soak-schedule.js';

/** What was done, when, on the clock that all processes share. */
export interface Done extends Planned {
  /** Empty when it was carried out; else why it was left out. */
  skipped: string;
  outMs: number;
  /** When it was let back, and when the gateway raced it again; null when it was not seen to. */
  backMs: number | null;
  racedMs: number | null;
}

export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Drained is said by the second look in a row, one a second. */
const DRAIN_MS = 15_000;
const BACK_MS = 30_000;

export class Havoc {
  readonly done: Done[] = [];
  readonly blows: Blow[] = [];
  /** Drains that did not end in time. */
  undrained = 0;
  readonly #out = new Set<string>();

  constructor(
    readonly lab: Lab,
    readonly leastInService: number,
    readonly say: (line: string) => void,
  ) {}

  /**
   * Carries all of it out; resolves when every replica is back. `stop` ends it early.
   * @throws FirstackError FSA_LAB_FAILED when something could not be started again
   */
  async run(schedule: readonly Planned[], begunAt: number, stop: AbortSignal): Promise<void> {
    const running: Promise<void>[] = [];
    const failures: unknown[] = [];
    for (const planned of schedule) {
      await pause(Math.max(0, begunAt + planned.atS * 1000 - monotonicMs()));
      if (stop.aborted || failures.length > 0) break;
      running.push(this.#carryOut(planned, begunAt).catch((error) => void failures.push(error)));
    }
    await Promise.all(running);
    if (failures.length > 0) throw failures[0];
  }

  async #carryOut(planned: Planned, begunAt: number): Promise<void> {
    const { replica, kind, holdS } = planned;
    const event: Done = { ...planned, skipped: '', outMs: monotonicMs(), backMs: null, racedMs: null };
    this.done.push(event);
    const others = this.lab.topology.replicas.filter((r) => r !== replica && !this.#out.has(r));
    if (this.#out.has(replica)) event.skipped = `${replica} is not back yet`;
    else if (others.length < this.leastInService) event.skipped = `${others.length} others are in service`;
    const atS = ((event.outMs - begunAt) / 1000).toFixed(1);
    this.say(`${atS.padStart(6)} s  ${kind} ${replica} for ${holdS} s ${event.skipped}`);
    if (event.skipped !== '') return;
    this.#out.add(replica);
    await this.#takeOut(event);
    await pause(Math.max(0, event.outMs + holdS * 1000 - monotonicMs()));
    event.backMs = monotonicMs();
    await this.#bringBack(event);
    if (await waitUntil(() => this.#isRaced(replica), BACK_MS, 250)) event.racedMs = monotonicMs();
    else this.say(`${replica} did not come back: ${JSON.stringify(await this.lab.roles.status(replica))}`);
    this.#out.delete(replica);
  }

  async #takeOut({ kind, replica }: Done): Promise<void> {
    const { lab } = this;
    if (kind === 'drain' || kind === 'leave') {
      await this.#post(replica, 'drain');
      if (kind === 'drain') return;
      const isDrained = async () =>
        ((await lab.roles.status(replica)) as { drain?: string } | undefined)?.drain === 'drained';
      // One that is drained carries nothing: its end is no excuse for anything.
      if (await waitUntil(isDrained, DRAIN_MS, 250)) return lab.stopRole(replica);
      this.undrained++;
    }
    if (kind === 'kill-web' || kind === 'kill-both')
      await this.#blow(replica, 'web-killed', () => lab.webServer(replica).kill());
    if (kind === 'kill-role' || kind === 'kill-both')
      await this.#blow(replica, 'role-killed', () => lab.killRole(replica));
    if (kind === 'stop' || kind === 'leave')
      await this.#blow(replica, 'role-stopped', () => lab.stopRole(replica));
  }

  async #bringBack({ kind, replica }: Done): Promise<void> {
    const { lab } = this;
    if (kind === 'drain') return this.#post(replica, 'resume');
    if (kind === 'kill-web' || kind === 'kill-both') await lab.webServer(replica).start();
    if (kind !== 'kill-web') lab.startRole(replica);
  }

  async #blow(machine: string, what: Blow['what'], strike: () => Promise<void>): Promise<void> {
    const blow: Blow = { machine, what, fromMs: monotonicMs(), toMs: Number.POSITIVE_INFINITY };
    this.blows.push(blow);
    await strike();
    blow.toMs = monotonicMs();
  }

  /** As `firstack replica drain|resume` asks. */
  async #post(replica: string, action: 'drain' | 'resume'): Promise<void> {
    const answer = await ask(this.lab.roles.adminSocket(replica), `/v1/${action}`, 'POST');
    if (answer?.status !== 200) this.say(`${replica}: ${action} was answered with ${answer?.status}`);
  }

  async #isRaced(replica: string): Promise<boolean> {
    return (await this.lab.roles.status('gateway'))?.applied.replicasUp.includes(replica) === true;
  }
}
