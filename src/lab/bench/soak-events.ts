/**
 * Carries out a schedule: replicas are drained, stopped, killed, and brought back; the time of each event is
 * recorded.
 */
import { ask } from '../admin-client.js';
import type { Lab } from '../lab.js';
import { pause, waitUntil } from '../process.js';
import type { Blow } from './soak-account.js';
import type { Planned } from './soak-schedule.js';

/** An event that was carried out, with times on the clock that all processes share. */
export interface Done extends Planned {
  /** Empty when the event was carried out; else the reason why it was left out. */
  skipped: string;
  outMs: number;
  /** When the replica was brought back, and when the gateway raced it again; null when that was not seen. */
  backMs: number | null;
  racedMs: number | null;
}

export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** A drain is reported by the second consecutive count, with one count per second. */
const DRAIN_MS = 15_000;
const BACK_MS = 30_000;

export class Havoc {
  readonly done: Done[] = [];
  readonly blows: Blow[] = [];
  /** The number of drains that did not end in time. */
  undrained = 0;
  readonly #out = new Set<string>();

  constructor(
    readonly lab: Lab,
    readonly leastInService: number,
    readonly say: (line: string) => void,
  ) {}

  /**
   * Carries out all events; resolves when every replica is back. `stop` ends it early.
   * @throws FirstackError FSA_LAB_FAILED when a process could not be started again
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
      // A drained replica carries no connection, so its end is no excuse for a failed one.
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

  /** Sends the same request as `firstack replica drain|resume`. */
  async #post(replica: string, action: 'drain' | 'resume'): Promise<void> {
    const answer = await ask(this.lab.roles.adminSocket(replica), `/v1/${action}`, 'POST');
    if (answer?.status !== 200) this.say(`${replica}: ${action} was answered with ${answer?.status}`);
  }

  async #isRaced(replica: string): Promise<boolean> {
    return (await this.lab.roles.status('gateway'))?.applied.replicasUp.includes(replica) === true;
  }
}
