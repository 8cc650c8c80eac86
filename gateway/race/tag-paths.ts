/**
 * Which paths to an origin drop tagged SYNs, as far as connections tell: so many in a row that only an untagged SYN opened.
 * Such a path is not tagged for a while, and then tried again.
 */
import type { ServiceNumber } from '../../src/flow/numbers.js';

const UNTAGGED_IN_A_ROW = 3;
/** Ticks of a tenth of a second. */
const TRY_TAGS_AGAIN_TICKS = 6000;

export class TagPaths {
  /** By service number, which lives on through changes of the registry. */
  readonly #untagged: number[] = [];
  readonly #untaggedUntil: number[] = [];

  /** Notes whether a connection was opened by a SYN that went untagged at last. */
  judge(service: ServiceNumber, untagged: boolean, nowTick: number): void {
    const row = untagged ? (this.#untagged[service] ?? 0) + 1 : 0;
    this.#untagged[service] = row;
    if (row >= UNTAGGED_IN_A_ROW) this.#untaggedUntil[service] = (nowTick + TRY_TAGS_AGAIN_TICKS) | 0;
  }

  /** Whether the path to this service's origin drops tagged SYNs, as far as is known now. */
  dropTags(service: ServiceNumber, nowTick: number): boolean {
    const until = this.#untaggedUntil[service];
    return until !== undefined && ((until - nowTick) | 0) > 0;
  }
}
