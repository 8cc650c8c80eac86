/** The monotonic clock and the precise timer of the data plane and of the WAN emulator. */
import { native } from './native.js';

/** The clock is injected wherever a decision depends on time, so that a test can set the time by hand. */
export interface Clock {
  /** Microseconds of the monotonic clock, as of the last {@link Clock.update}. */
  readonly nowUs: number;
  update(): void;
}

export class MonotonicClock implements Clock {
  readonly #out = new Float64Array(1);
  constructor() {
    this.update();
  }
  get nowUs(): number {
    return this.#out[0];
  }
  update(): void {
    native.clock(this.#out);
  }
}

export class ManualClock implements Clock {
  constructor(public nowUs = 1e6) {}
  update(): void {}
}

/** A timerfd: half a millisecond late at p95, where `setTimeout` is 1.1 ms late. Fires once per {@link arm}. */
export class PreciseTimer {
  readonly #id: number;
  constructor(callback: () => void) {
    this.#id = native.timer(callback);
  }
  /** @param atUs time of the monotonic clock; a past time fires at once, 0 disarms */
  arm(atUs: number): void {
    native.armTimer(this.#id, atUs);
  }
  release(): void {
    native.unwatch(this.#id);
  }
}
