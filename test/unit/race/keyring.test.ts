import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FOREIGN, FORGED, GENUINE, Keyring, STALE, type TagVerdict } from '../../../src/race/keyring.js';
import * as ipv4 from '../../../src/wire/ipv4.js';
import * as tag from '../../../src/wire/tag.js';
import { GATEWAY_ID, NOW_SECONDS, syn, tagged, tcpOf } from '../../support/builder.js';
import { frame, type Packet, type TagFields, tagOption } from '../../support/naive.js';
import { GATEWAYS, keyWords } from '../../support/world.js';

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
  return keyring.check(view, 10, l4, tag.find(view, l4), 0);
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

const ID = 5;
const PAIR = Array.from({ length: 16 }, (_, b) => b + 1);
const OTHER = PAIR.map((b) => b + 100);
const THIRD = PAIR.map((b) => b + 50);

/** A SYN with a tag of version 3 by this key, made from SPEC.md by other code. */
function paired(key: number[], more: Partial<TagFields> = {}): Packet {
  const p = syn();
  const fields = { version: 3, flags: 1, keyId: ID, epoch: WHOLE, gatewayId: GATEWAY_ID, ...more };
  const t = tcpOf(p);
  return { ...p, body: { ...t, options: [...t.options, ...tagOption(p, key, fields)] } };
}

/** @param service to which the SYN goes; its origins' key is {@link OTHER} for number 1 */
function checkPaired(p: Packet, { service = 1, leastVersion = 1 } = {}): TagVerdict {
  const keyring = new Keyring();
  const pairs = [THIRD, PAIR].map((key) => ({ id: ID, words: keyWords(key) }));
  const gateways = GATEWAYS.map((g, n) => ({ ...g, leastVersion, pairs: n === 0 ? pairs : [] }));
  keyring.load(gateways, [[], [{ id: ID, words: keyWords(OTHER) }]]);
  const view = new DataView(frame(p).buffer);
  const l4 = 10 + ipv4.headerLength(view, 10);
  return keyring.check(view, 10, l4, tag.find(view, l4), service);
}

describe('a keyring with the keys of pairs', () => {
  it('takes a tag by any key that it shares with the gateway, and by no other', () => {
    expect([PAIR, THIRD, OTHER].map((key) => checkPaired(paired(key)))).toEqual([GENUINE, GENUINE, FORGED]);
    expect(checkPaired(paired(PAIR, { keyId: ID + 1 }))).toBe(FORGED);
    expect(checkPaired(paired(PAIR, { epoch: WHOLE + 16 }))).toBe(FORGED);
    expect(checkPaired(paired(PAIR, { epoch: WHOLE + 2 }))).toBe(STALE);
    // One gateway's key is none of another's; of a gateway that shares none, nothing is read.
    expect(checkPaired(paired(PAIR, { gatewayId: GATEWAY_ID + 1 }))).toBe(FOREIGN);
  });

  it("takes an origin's own tag for the services of that origin alone", () => {
    const relayed = paired(OTHER, { flags: 3 });
    expect(checkPaired(relayed, { service: 1 })).toBe(GENUINE);
    expect(checkPaired(relayed, { service: 0 })).toBe(FOREIGN);
    expect(checkPaired(paired(PAIR, { flags: 3 }))).toBe(FORGED);
    expect(checkPaired(paired(OTHER, { flags: 1 }))).toBe(FORGED);
  });

  it("without the fleet's master keys takes no tag of an earlier version", () => {
    const verdicts = [1, 2].map((version) =>
      checkPaired(tagged(syn(), { epoch: WHOLE, version }), { leastVersion: tag.PAIRED }),
    );
    expect(verdicts).toEqual([FOREIGN, FOREIGN]);
    expect(checkPaired(paired(PAIR), { leastVersion: tag.PAIRED })).toBe(GENUINE);
  });
});
