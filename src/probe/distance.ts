/**
 * One-way distances from round trips: half of the median of a window. Pure.
 * Half a round trip is the one-way distance only where paths are symmetric; reports say that this is how it was
 * measured.
 */
const WINDOW = 15;
/** The number of answers from which a distance is computed. */
const ENOUGH = 3;

export class DistanceWindow {
  readonly #rttUs: number[] = [];
  readonly #oneWayUs: number[] = [];
  #lastReplyUs = 0;

  /**
   * @param nowUs when the answer came
   * @param oneWayUs the one-way time by two clocks; meaningful only where both are synchronized
   */
  add(rttUs: number, nowUs: number, oneWayUs = 0): void {
    this.#oneWayUs.push(oneWayUs);
    if (this.#oneWayUs.length > WINDOW) this.#oneWayUs.shift();
    this.#rttUs.push(rttUs);
    if (this.#rttUs.length > WINDOW) this.#rttUs.shift();
    this.#lastReplyUs = nowUs;
  }

  /** d(O,R) in µs, or undefined while there are too few answers. */
  get distanceUs(): number | undefined {
    if (this.#rttUs.length < ENOUGH) return undefined;
    return median(this.#rttUs) / 2;
  }

  /** d(O,R) in µs by two synchronized clocks; undefined while there are too few answers. */
  get oneWayUs(): number | undefined {
    if (this.#oneWayUs.length < ENOUGH) return undefined;
    return Math.max(0, median(this.#oneWayUs));
  }

  /** µs since the last answer. */
  silenceUs(nowUs: number): number {
    return nowUs - this.#lastReplyUs;
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
