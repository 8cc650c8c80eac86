import { describe, expect, it } from 'vitest';
import { Patience } from '../../../src/pipeline/patience.js';

/** How many of the next `chances` it waits, when each wait is in vain. */
function waits(patience: Patience, chances: number): number {
  let n = 0;
  for (let k = 0; k < chances; k++)
    if (patience.next(Number.POSITIVE_INFINITY) > 0) {
      n++;
      patience.learn(0, 30);
    }
  return n;
}

describe('patience', () => {
  it('continues to wait as long as packets come', () => {
    const patience = new Patience();
    for (let n = 0; n < 100; n++) {
      expect(patience.next(Number.POSITIVE_INFINITY)).toBeGreaterThan(0);
      patience.learn(1, 30);
    }
  });

  it('decreases while no packet comes, down to one wait in 1024 chances', () => {
    const patience = new Patience();
    // Waits are 1, 2, 4 … chances apart.
    expect(waits(patience, 2 ** 11 - 1)).toBe(11);
    expect(waits(patience, 10_240)).toBe(10);
  });

  it('is restored by the first packet during a wait', () => {
    const patience = new Patience();
    waits(patience, 10_240);
    while (patience.next(Number.POSITIVE_INFINITY) === 0);
    patience.learn(3, 30);
    expect(patience.next(Number.POSITIVE_INFINITY)).toBeGreaterThan(0);
  });

  it('is lost at once when other threads ran meanwhile, even if packets came', () => {
    const patience = new Patience();
    let waited = 0;
    for (let k = 0; k < 2 ** 11 - 1; k++)
      if (patience.next(Number.POSITIVE_INFINITY) > 0) {
        waited++;
        patience.learn(1, 3000);
      }
    expect(waited).toBe(2);
  });

  it('does not wait when other work is due', () => {
    const patience = new Patience();
    const wait = patience.next(1000);
    expect(patience.next(wait)).toBe(wait);
    expect(patience.next(wait - 1)).toBe(0);
    expect(patience.next(-5)).toBe(0);
  });
});
