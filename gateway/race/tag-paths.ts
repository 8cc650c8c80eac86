/**
 * Which paths to an origin drop tagged SYNs. The evidence is a number of consecutive connections that were opened only
 * by an untagged SYN. An outage of some seconds looks the same, so tags are tried again after a few seconds, by one
 * connection at a time; only a path that goes on to drop them is left alone for longer and longer.
 */
import type { ServiceNumber } from '../../src/flow/numbers.js';

const UNTAGGED_IN_A_ROW = 3;
/** In ticks of a tenth of a second: the first rest, the longest one, and how long a trial may take. */
const FIRST_REST = 50;
const LONGEST_REST = 6000;
const TRIAL = 100;

interface Path {
  untagged: number;
  /** Ticks of the present rest; 0 while SYNs are tagged. */
  rest: number;
  /** When the next connection tries a tag. */
  nextTrial: number;
  /** Whether a connection that tries a tag is under way. */
  trying: boolean;
}

export class TagPaths {
  /** By service number, which stays the same when the registry changes. */
  readonly #paths: Path[] = [];

  /** Notes whether a connection was opened only by an untagged SYN. */
  judge(service: ServiceNumber, untagged: boolean, nowTick: number): void {
    const path = this.#paths[service];
    if (!untagged) {
      if (path !== undefined) {
        path.untagged = path.rest = 0;
        path.trying = false;
      }
      return;
    }
    if (path === undefined) {
      this.#paths[service] = { untagged: 1, rest: 0, nextTrial: 0, trying: false };
      return;
    }
    // Connections that began before the rest tell nothing new.
    if (path.rest !== 0 && !path.trying) return;
    path.trying = false;
    path.untagged++;
    if (path.untagged < UNTAGGED_IN_A_ROW) return;
    path.rest = path.rest === 0 ? FIRST_REST : Math.min(LONGEST_REST, 2 * path.rest);
    path.nextTrial = (nowTick + path.rest) | 0;
  }

  /** Whether this service's next SYN goes without a tag, because the path is believed to drop them. */
  dropTags(service: ServiceNumber, nowTick: number): boolean {
    const path = this.#paths[service];
    if (path === undefined || path.rest === 0) return false;
    if (((path.nextTrial - nowTick) | 0) > 0) return true;
    // This connection tries a tag; the next one does when this one's trial has not been decided in time.
    path.trying = true;
    path.nextTrial = (nowTick + TRIAL) | 0;
    return false;
  }
}
