/**
 * Finds the machines that carried failed connections: by the gateway's race records, which are read soon after each
 * failure.
 */
import type { RaceRecord } from '../../race/record-read.js';
import type { Lab } from '../lab.js';
import { CLIENT_ADDRESS } from '../network.js';
import type { Unwell } from './soak-account.js';
import { monotonicMs } from './soak-events.js';

/** Several connections fail at once, and a connection that the kernel opened is recorded a moment later. */
const GATHER_MS = 300;
const MOST_RACES = 4096;

export class Witness {
  readonly #heard: Unwell[] = [];
  #waiting: Unwell[] = [];
  #asking: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly lab: Lab,
    /** Connections a second, which tell how far back a race is. */
    readonly rate: number,
    readonly say: (line: string) => void,
  ) {}

  hear(c: Unwell): void {
    this.#heard.push(c);
    this.#waiting.push(c);
    this.#timer ??= setTimeout(() => this.#gathered(), GATHER_MS);
  }

  /** All failed connections, each with its winner where there is a record. */
  async all(): Promise<Unwell[]> {
    clearTimeout(this.#timer);
    this.#gathered();
    await this.#asking;
    return this.#heard;
  }

  #gathered(): void {
    this.#timer = undefined;
    const list = this.#waiting.splice(0);
    if (list.length > 0) this.#asking = this.#asking.then(() => this.#ask(list));
  }

  async #ask(list: readonly Unwell[]): Promise<void> {
    const backS = (monotonicMs() - Math.min(...list.map((c) => c.startedAt))) / 1000;
    const races = await this.lab.roles.races(Math.min(MOST_RACES, Math.ceil(backS * this.rate * 1.5) + 200));
    for (const c of list) {
      const race = raceOf(c, races);
      c.winner = race?.winner ?? null;
      const told = race === undefined ? 'no race record' : `${race.rule}; winner ${race.winner}`;
      const ms = Math.round(c.endedAt - c.startedAt);
      this.say(
        `${c.service} ${c.path} from port ${c.localPort}: ${c.error} after ${ms} ms and ${c.bodyBytes} bytes (${c.servedBy || 'no response'}; ${told})`,
      );
    }
  }
}

/** The latest race with that port, because ports are used again. */
function raceOf(c: Unwell, races: readonly RaceRecord[]): RaceRecord | undefined {
  if (c.localPort === null) return undefined;
  return races.findLast((r) => r.client === `${CLIENT_ADDRESS}:${c.localPort}` && r.service === c.service);
}
