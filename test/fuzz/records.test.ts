// Registry records that no machine signed as they are: genuine ones that are changed, moved to other keys, given to
// others, or replayed. None counts. `npm run fuzz` goes on for as long as one likes.
import { generateKeyPairSync } from 'node:crypto';
import { pack, unpack } from 'msgpackr';
import { beforeAll, describe, expect, it } from 'vitest';
import { validate } from '../../src/config.js';
import { type ReplicaRecord, replicaKind } from '../../src/race/records.js';
import { keyOfRecord } from '../../src/registry/keys.js';
import type { RecordKind } from '../../src/registry/kinds.js';
import { Verifier } from '../../src/registry/verifier.js';
import { type Credential, newSerial, publicText, signCredential } from '../../src/trust/credential.js';
import { makeSeal } from '../../src/trust/seal.js';
import { MORE, SEED } from '../support/fuzz.js';
import { Random } from '../support/random.js';

const ROUNDS = 4000 * MORE;
const NOW_MS = 1_700_000_000_000;
const kind = replicaKind as RecordKind;
const pair = () => generateKeyPairSync('ed25519');
const [fleet, otherFleet] = [pair(), pair()];

function holder(id: string, by = fleet): { sign: (key: string, bytes: Buffer, atMs: number) => Buffer } {
  const keys = pair();
  const credential: Credential = {
    ...{ jti: newSerial(), sub: `replica:${id}`, nbf: NOW_MS / 1000 - 60, exp: NOW_MS / 1000 + 3600 },
    may: { services: ['web'], addresses: [`198.18.1.${id.slice(1)}/32`] },
    ...{ sign: publicText(keys.publicKey), exchange: publicText(keys.publicKey) },
  };
  const text = signCredential(by.privateKey, credential);
  const signing = { key: keys.privateKey, credential: text };
  return { sign: (key, bytes, atMs) => makeSeal(key, bytes, atMs, signing) };
}

const machines = Array.from({ length: 8 }, (_, n) => holder(`r${n + 1}`));
const strangers = Array.from({ length: 8 }, (_, n) => holder(`r${n + 1}`, otherFleet));
const record = (n: number): ReplicaRecord => ({
  ...{
    v: 1,
    id: `r${n + 1}`,
    address: `198.18.1.${n + 1}`,
    services: [{ name: 'web' }],
    state: 'up',
    reason: '',
  },
  ...{ connections: 0, load: 0, clock: 'free' },
});

describe('a forged record', () => {
  const random = new Random(SEED + 77);
  let verifier: Verifier;
  beforeAll(() => {
    verifier = new Verifier(fleet.publicKey, true, () => NOW_MS);
  });

  /** Changes one bit, somewhere. */
  const spoil = (bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes);
    copy[random.below(copy.length)] ^= 1 << random.below(8);
    return copy;
  };
  const judge = (value: ReplicaRecord, bytes: Buffer, seal: Buffer | null, lastMs = 0): string => {
    const last =
      lastMs === 0
        ? undefined
        : { ...verifier.judge(kind, keyOfRecord(kind, value), value, bytes, seal, undefined), atMs: lastMs };
    return verifier.judge(kind, keyOfRecord(kind, value), value, bytes, seal, last).why;
  };

  it(`is never accepted, in ${ROUNDS} tries, and a genuine one always is`, () => {
    for (let round = 0; round < ROUNDS; round++) {
      const n = random.below(8);
      const other = (n + 1 + random.below(7)) % 8;
      const value = record(n);
      const key = keyOfRecord(kind, value);
      const bytes = pack(value);
      const atMs = NOW_MS - random.below(3_000_000);
      const seal = machines[n].sign(key, bytes, atMs);
      if (round % 8 === 0) expect(judge(value, bytes, seal)).toBe('');
      const forgeries: (() => string)[] = [
        () => {
          const changed = spoil(bytes);
          let read: ReplicaRecord;
          try {
            read = unpack(changed) as ReplicaRecord;
          } catch {
            return 'cannot be read';
          }
          // As readers do, before they ask who may state it.
          if (validate(read, kind.schemaOf(read), () => key).length > 0) return 'does not fit';
          return verifier.judge(kind, key, read, changed, seal, undefined).why;
        },
        () => judge(value, bytes, spoil(seal)),
        () => judge(value, bytes, seal.subarray(0, random.below(seal.length))),
        () => judge(record(other), bytes, seal),
        () => judge(value, bytes, machines[other].sign(key, bytes, atMs)),
        () => judge(value, bytes, strangers[n].sign(key, bytes, atMs)),
        () => {
          const moved = { ...value, address: '198.18.9.9' };
          const changed = pack(moved);
          return judge(moved, changed, machines[n].sign(key, changed, atMs));
        },
        () => judge(value, bytes, seal, atMs + 1 + random.below(1000)),
        () => judge(value, bytes, machines[n].sign(key, bytes, NOW_MS + 300_001 + random.below(1e9))),
        () => judge(value, bytes, machines[n].sign(key, bytes, NOW_MS - 3_600_001 - random.below(1e9))),
        () => judge(value, bytes, null),
      ];
      const which = random.below(forgeries.length);
      const why = forgeries[which]();
      if (why === '') expect.fail(`forgery ${which} was accepted in round ${round}, seed ${SEED + 77}`);
    }
  });
});
