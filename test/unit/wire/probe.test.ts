import { describe, expect, it } from 'vitest';
import * as probe from '../../../src/wire/probe.js';
import { keyFromBytes } from '../../../src/wire/siphash.js';

const KEY = keyFromBytes(Uint8Array.from({ length: 16 }, (_, i) => i * 3));
const REQUEST: probe.Probe = { kind: probe.REQUEST, seq: 65535, sentUs: 1.5e15, receivedUs: 0, repliedUs: 0 };
const REPLY: probe.Probe = { ...REQUEST, kind: probe.REPLY, receivedUs: 17.25, repliedUs: -1 };

describe('the distance probe', () => {
  it.each([REQUEST, REPLY])('decodes what it encoded, request and reply with the same size', (p) => {
    const bytes = probe.encode(p, KEY);
    expect(bytes.length).toBe(probe.LENGTH);
    expect(probe.decode(bytes, KEY)).toEqual(p);
  });

  it('refuses a message with any one bit wrong', () => {
    const bytes = probe.encode(REPLY, KEY);
    for (let i = 0; i < bytes.length * 8; i++) {
      const wrong = bytes.slice();
      wrong[i >> 3] ^= 1 << (i & 7);
      expect(probe.decode(wrong, KEY), `bit ${i}`).toBeUndefined();
    }
  });

  it('refuses a message of another length, kind or fleet', () => {
    const bytes = probe.encode(REQUEST, KEY);
    expect(probe.decode(bytes.subarray(0, 39), KEY)).toBeUndefined();
    expect(probe.decode(Uint8Array.from([...bytes, 0]), KEY)).toBeUndefined();
    expect(probe.decode(new Uint8Array(0), KEY)).toBeUndefined();
    expect(probe.decode(probe.encode({ ...REQUEST, kind: 3 as 1 }, KEY), KEY)).toBeUndefined();
    expect(probe.decode(bytes, keyFromBytes(new Uint8Array(16)))).toBeUndefined();
  });
});
