// Keys that two machines share (FAULTS T11): what one of them can check, it can forge for no third one.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Identity, issue } from '../../../src/trust/identity.js';
import { type PairKey, PairKeys } from '../../../src/trust/pair-keys.js';

const fleet: KeyObject = generateKeyPairSync('ed25519').privateKey;
const NBF = 1_700_000_000;
const DAY_MS = 86_400_000;

type Made = Pick<Identity, 'credential' | 'exchangeKey' | 'formerKey'>;
function machine(sub: string, former?: Made): Made {
  const times = { nbf: NBF, exp: NBF + 1000 * 86_400 };
  const { file, credential } = issue(fleet, { sub, may: {}, ...times }, former as Identity | undefined);
  const { exchangeKey, formerKey } = file;
  return { credential, exchangeKey, formerKey };
}

/** @param afterMs since the credentials were issued */
const keysOf = (m: Made, afterMs = 0): PairKeys => new PairKeys(m, () => NBF * 1000 + afterMs);
const isIn = (key: PairKey | undefined, list: PairKey[]): boolean =>
  list.some((k) => k.id === key?.id && k.words.join() === key.words.join());

describe('the keys of a pair', () => {
  const [gw, r1, r2] = ['gateway:1', 'replica:r1', 'replica:r2'].map((sub) => machine(sub));

  it('are the same at both ends, and no third machine has them', () => {
    const sent = keysOf(gw).toward(r1.credential);
    expect(isIn(sent, keysOf(r1).from(gw.credential))).toBe(true);
    expect(sent!.words).toHaveLength(4);
    expect(sent!.words.every((w) => Number.isInteger(w) && w === (w | 0))).toBe(true);
    expect(sent!.id).toBeGreaterThanOrEqual(0);
    expect(sent!.id).toBeLessThan(16);
    for (const other of [keysOf(gw).toward(r2.credential), keysOf(r1).toward(r2.credential)])
      expect(other!.words).not.toEqual(sent!.words);
    // What r1 holds for the gateway gives nothing that r2 would take for the gateway's.
    expect(isIn(keysOf(r1).toward(r2.credential), keysOf(r2).from(gw.credential))).toBe(false);
  });

  it('are none where the other key is a point of low order', () => {
    const exchange = Buffer.alloc(32).toString('base64url');
    expect(keysOf(gw).toward({ exchange, nbf: NBF })).toBeUndefined();
    expect(keysOf(gw).from({ exchange, nbf: NBF })).toEqual([]);
  });

  it('change without a gap: whichever end rotates, and whichever credential the other has read', () => {
    const next = { gw: machine('gateway:1', gw), r1: machine('replica:r1', r1) };
    expect(next.gw.credential.exchange).not.toBe(gw.credential.exchange);
    expect(next.gw.formerKey).toBe(gw.exchangeKey);
    for (const sender of [gw, next.gw])
      for (const receiver of [r1, next.r1])
        for (const read of [r1, next.r1])
          for (const seen of [gw, next.gw]) {
            // Each end may still have the other's credential of before; a machine that starts sends as before.
            const sent = keysOf(sender).toward(read.credential);
            const mayNotHave = sender === gw && receiver === r1;
            if (read === next.r1 && mayNotHave) continue;
            if (seen === next.gw && sender === gw) continue;
            if (read === next.r1 && receiver === r1) continue;
            expect(isIn(sent, keysOf(receiver).from(seen.credential))).toBe(true);
          }
  });

  it('settle: after ten seconds a machine sends with its present key', () => {
    let nowMs = NBF * 1000;
    const next = machine('gateway:1', gw);
    const keys = new PairKeys(next, () => nowMs);
    expect([keys.isSettled, keys.toward(r1.credential)]).toEqual([false, keysOf(gw).toward(r1.credential)]);
    nowMs += 10_000;
    expect(keys.isSettled).toBe(true);
    expect(keys.toward(r1.credential)).toEqual(keysOf(machineWithout(next)).toward(r1.credential));
    expect(keys.toward(r1.credential)).not.toEqual(keysOf(gw).toward(r1.credential));
  });

  it('of before count for a week', () => {
    const next = machine('gateway:1', gw);
    const old = keysOf(gw).toward(r1.credential);
    const isTaken = (afterMs: number): boolean => isIn(old, keysOf(r1, afterMs).from(next.credential));
    expect([isTaken(6.9 * DAY_MS), isTaken(7.1 * DAY_MS)]).toEqual([true, false]);
    const own = (afterMs: number): number => keysOf(next, afterMs).from(r1.credential).length;
    expect([own(6.9 * DAY_MS), own(7.1 * DAY_MS)]).toEqual([2, 1]);
    expect(keysOf(next, 7.1 * DAY_MS).isSettled).toBe(true);
  });
});

const machineWithout = ({ credential, exchangeKey }: Made): Made => ({ credential, exchangeKey });
