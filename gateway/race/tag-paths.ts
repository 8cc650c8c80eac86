/**
 * Which paths to an origin drop tagged SYNs. The evidence is a number of consecutive connections that were opened only
 * by an untagged SYN. SYNs on such a path are not tagged for a while, and then tags are tried again.
 */
import type { ServiceNumber } from '../../src/flow/numbers.js';

const UNTAGGED_IN_A_ROW = 3;
/** In ticks of a tenth of a second. */
const TRY_TAGS_AGAIN_TICKS = 6000;

export class TagPaths {
  /** By service number, which stays the same when the registry changes. */
  readonly #untagged: number[] = [];
  readonly #untaggedUntil: number[] = [];

  /** Notes whether a connection was opened only by an untagged SYN. */
  judge(service: ServiceNumber, untagged: boolean, nowTick: number): void {
    const row = untagged ? (this.#untagged[service] ?? 0) + 1 : 0;
    this.#untagged[service] = row;
    if (row >= UNTAGGED_IN_A_ROW) this.#untaggedUntil[service] = (nowTick + TRY_TAGS_AGAIN_TICKS) | 0;
  }

  /** Whether the path to this service's origin is believed to drop tagged SYNs. */
  dropTags(service: ServiceNumber, nowTick: number): boolean {
    const until = this.#untaggedUntil[service];
    return until !== undefined && ((until - nowTick) | 0) > 0;
  }
}
