import { describe, expect, it } from 'vitest';
import { TunnelIds } from '../../../src/pipeline/tunnel.js';

describe('identifications of outer headers', () => {
  it('follow each other, one per segment, and wrap at 16 bits', () => {
    const ids = new TunnelIds();
    expect([ids.take(1), ids.take(40), ids.take(1)]).toEqual([0, 1, 41]);
    for (let n = 0; n < 0x10000 - 43; n++) ids.take(1);
    expect(ids.take(1)).toBe(0xffff);
    expect(ids.take(1)).toBe(0);
    let most = 0;
    for (let n = 0; n < 3 * 0x10000; n++) most = Math.max(most, ids.take(44));
    expect(most).toBeLessThan(0x10000);
  });
});
