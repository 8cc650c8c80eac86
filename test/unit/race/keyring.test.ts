import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FOREIGN, FORGED, GENUINE, Keyring, STALE, type TagVerdict } from '../../../src/race/keyring.js';
import * as ipv4 from '../../../src/wire/ipv4.js';
import * as tag from '../../../src/wire/tag.js';
import { NOW_SECONDS, syn, tagged } from '../../support/builder.js';
import { frame, type TagFields } from '../../support/naive.js';
import { GATEWAYS } from '../../support/world.js';

const WHOLE = tag.epochOf(NOW_SECONDS);
beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

/** @param leastVersion of the gateway's tags */
function check(fields: Partial<TagFields>, leastVersion?: number): TagVerdict {
  const keyring = new Keyring();
  keyring.load(GATEWAYS.map((g) => ({ ...g, leastVersion })));
  const view = new DataView(frame(tagged(syn(), { epoch: WHOLE, ...fields })).buffer);
  const l4 = 10 + ipv4.headerLength(view, 10);
  return keyring.check(view, 10, l4, tag.find(view, l4));
}

describe('a keyring', () => {
  it('takes tags of both versions, and of version 2 only from a gateway with an identity', () => {
    expect([1, 2, 0, 3].map((version) => check({ version }))).toEqual([GENUINE, GENUINE, FOREIGN, FOREIGN]);
    expect([1, 2].map((version) => check({ version }, 2))).toEqual([FOREIGN, GENUINE]);
  });

  it('takes a captured tag of version 2 for three epochs, and not sixteen later', () => {
    const verdicts = [-2, -1, 0, 1, 2, 16].map((ahead) => check({ version: 2, epoch: WHOLE + ahead }));
    expect(verdicts).toEqual([STALE, GENUINE, GENUINE, GENUINE, STALE, FORGED]);
    expect(check({ version: 1, epoch: WHOLE + 16 })).toBe(GENUINE);
  });
});
