/**
 * Security tests with large numbers: no SYN with a forged tag is copied or decapsulated, and no tunnel from an
 * unknown host is decapsulated. A hundred thousand tries each, seeded. Each test first checks that a genuine packet
 * is accepted, so that a harness that accepts nothing does not pass.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FOREIGN, GENUINE, Keyring } from '../../src/race/keyring.js';
import { parse } from '../../src/wire/address.js';
import * as ipip from '../../src/wire/ipip.js';
import * as probe from '../../src/wire/path-probe.js';
import * as tag from '../../src/wire/tag.js';
import {
  asReplica,
  asService,
  CLIENT,
  EPOCH,
  fromClient,
  GATEWAY_ID,
  KEY_ID,
  linuxOptions,
  MASTER,
  NOW_SECONDS,
  ORIGIN,
  R1,
  R2,
  SERVICE,
  STRANGER,
  syn,
  tagged,
  tunnel,
  withTcp,
} from '../support/builder.js';
import { MORE, SEED } from '../support/fuzz.js';
import { Harness, sums } from '../support/harness.js';
import { frame, type Packet, parseFrame, sum, type Tcp, tagOption } from '../support/naive.js';
import { Random } from '../support/random.js';
import { type Configuration, GATEWAYS, keyWords } from '../support/world.js';

const TRIES = 100_000 * MORE;
const BATCH = 64;

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

const TAG = 10 + 20 + 20 + linuxOptions().length;
const word32 = (f: Uint8Array, at: number, value: number): void => {
  new DataView(f.buffer).setInt32(at, value);
};

/** Corrects the IPv4 header's checksum, so that only the MAC can be the reason of a refusal. */
function mendHeader(f: Uint8Array, at: number): void {
  f[at + 10] = f[at + 11] = 0;
  const check = 0xffff - sum(f.subarray(at, at + 20));
  f[at + 10] = check >> 8;
  f[at + 11] = check & 255;
}

type Forgery = (f: Uint8Array, random: Random, at: number) => void;
/** Each makes the tag of a SYN wrong for its gateway. `at` is the tagged SYN's first IP byte. */
const FORGERIES: Record<string, Forgery> = {
  'a random MAC': (f, random, at) => {
    word32(f, at + TAG - 10 + 8, random.word());
    word32(f, at + TAG - 10 + 12, random.word() | 1);
  },
  'a random gateway, epoch, key id and MAC': (f, random, at) => {
    for (let i = 4; i < 16; i++) f[at + TAG - 10 + i] = random.below(256);
  },
  'one bit of the MAC': (f, random, at) => {
    f[at + TAG - 10 + 8 + random.below(8)] ^= 1 << random.below(8);
  },
  'one bit of epoch, key id or gateway': (f, random, at) => {
    f[at + TAG - 10 + 5 + random.below(3)] ^= 1 << random.below(8);
  },
  'version and flags': (f, random, at) => {
    f[at + TAG - 10 + 4] ^= 1 + random.below(255);
  },
  'another sequence number': (f, random, at) => {
    f[at + 24 + random.below(4)] ^= 1 << random.below(8);
  },
  'another client, inside the prefix': (f, random, at) => {
    f[at + 14 + random.below(2)] ^= 1 << random.below(8);
    mendHeader(f, at);
  },
  'another client, outside the prefix': (f, random, at) => {
    f[at + 12] ^= 1 << random.below(8);
    mendHeader(f, at);
  },
  'another port of the client': (f, random, at) => {
    f[at + 20 + random.below(2)] ^= 1 << random.below(8);
  },
};
// The receiver ignores any of these eleven flag bits, but the MAC covers them.
const NAMES = Object.keys(FORGERIES);

function* forgeries(genuine: Uint8Array, at: number): Generator<Uint8Array[]> {
  const random = new Random(SEED + 7);
  for (let n = 0; n < TRIES; n += BATCH)
    yield Array.from({ length: Math.min(BATCH, TRIES - n) }, (_, k) => {
      const f = genuine.slice();
      FORGERIES[NAMES[(n + k) % NAMES.length]](f, random, at);
      return f;
    });
}

describe('a forged tag', () => {
  it(`makes no copy at the origin, ${TRIES} times; its SYN reaches the server without the tag`, () => {
    const h = new Harness('origin');
    const genuine = frame(tagged(syn()));
    h.send([genuine]);
    expect(h.counts()['emit.copy']).toBe(2);
    h.clearCounts();
    let tagsSeen = 0;
    let out = 0;
    for (const batch of forgeries(genuine, 10))
      for (const f of h.send(batch)) {
        out++;
        if (f.length !== genuine.length - 16) tagsSeen++;
      }
    const counts = h.counts();
    expect(counts['emit.copy']).toBeUndefined();
    expect(counts['tag.genuine']).toBeUndefined();
    expect(counts['pass.syn-tag-refused']).toBe(TRIES);
    expect([out, tagsSeen]).toEqual([TRIES, 0]);
    // All three checks have refused some.
    for (const wall of ['tag.foreign', 'tag.stale', 'tag.forged']) expect(counts[wall]).toBeGreaterThan(1000);
  });

  it.each<Configuration>(['A', 'B', 'C'])(
    `is not decapsulated at a replica under %s, ${TRIES} times`,
    (configuration) => {
      const h = new Harness('replica', { configuration });
      const genuine = frame(tunnel(ORIGIN, R1.address, tagged(syn())));
      expect(h.send([genuine]).length).toBe(1);
      h.tick();
      const flows = h.gauges[0];
      h.clearCounts();
      let out = 0;
      for (const batch of forgeries(genuine, 30)) out += h.send(batch).length;
      h.tick();
      const counts = h.counts();
      expect(out).toBe(0);
      expect(sums(counts).drop).toBe(TRIES);
      expect(h.gauges[0]).toBe(flows);
      for (const wall of ['drop.tag-foreign', 'drop.tag-stale', 'drop.tag-forged'])
        expect(counts[wall]).toBeGreaterThan(1000);
    },
  );

  it(`for a pair is taken by no other key, ${TRIES} times, whether the gateway or the origin made it`, () => {
    const keyring = new Keyring();
    const [own, origins] = [1, 101].map((from) => Array.from({ length: 16 }, (_, b) => from + b));
    const words = (key: number[]): { id: number; words: number[] }[] => [{ id: 3, words: keyWords(key) }];
    keyring.load(
      GATEWAYS.map((g) => ({ ...g, pairs: words(own) })),
      [words(origins)],
    );
    const epoch = tag.epochOf(NOW_SECONDS);
    const made = [
      { key: own, flags: 1 },
      { key: origins, flags: 3 },
    ].map(({ key, flags }) => {
      const fields = { version: 3, flags, keyId: 3, epoch, gatewayId: GATEWAY_ID };
      return frame(withTcp(syn(), { options: [...linuxOptions(), ...tagOption(syn(), key, fields)] }));
    });
    const judge = (f: Uint8Array): number => {
      const view = new DataView(f.buffer);
      const p = tag.find(view, 30);
      return p < 0 ? FOREIGN : keyring.check(view, 10, 30, p, 0);
    };
    expect(made.map(judge)).toEqual([GENUINE, GENUINE]);
    let taken = 0;
    for (const genuine of made)
      for (const batch of forgeries(genuine, 10)) for (const f of batch) if (judge(f) === GENUINE) taken++;
    expect(taken).toBe(0);
  });

  it('is refused when it is signed with the key of another gateway, or with an old key', () => {
    const h = new Harness('origin');
    const stale = [2, 3, 8, 13, 14].map((n) => tagged(syn(), { epoch: (EPOCH + n) % 16 }));
    // A tag of gateway 7 made with gateway 8's key.
    const other = tagged(syn(), { gatewayId: 8 });
    const borrowed = frame(other);
    borrowed[TAG + 7] = 7;
    h.send([...stale.map(frame), borrowed, frame(tagged(syn(), {}, `${MASTER.slice(1)}0`))]);
    expect(h.counts()).toEqual({ 'pass.syn-tag-refused': 7, 'tag.stale': 5, 'tag.forged': 2 });
  });
});

/** Packets that an unknown host might send, with S and R as inner and outer addresses. */
function strange(random: Random, mine: string): Packet {
  const flags = random.pick(['S', 'SA', 'A', 'R', 'RA', 'PA', 'FA', 'SR', '']);
  const address = (): string =>
    random.pick([
      SERVICE,
      CLIENT,
      R1.address,
      R2.address,
      ORIGIN,
      STRANGER,
      `10.1.${random.below(256)}.${random.below(256)}`,
    ]);
  const base = random.pick([
    asService(flags),
    fromClient(flags),
    asReplica(R1, asService(flags)),
    asReplica(R2, asService(flags)),
  ]);
  const inner: Packet = {
    ...base,
    src: random.below(3) === 0 ? address() : base.src,
    dst: random.below(3) === 0 ? address() : base.dst,
    body: {
      ...base.body,
      seq: random.word() >>> 0,
      ack: random.below(2) === 0 ? random.word() >>> 0 : 0xffffffff,
      options: random.below(4) === 0 ? [253, 16, 0xfa, 0x57, ...random.bytes(12)] : [],
    } as Packet['body'],
  };
  return tunnel(
    random.pick([STRANGER, `192.0.2.${random.below(256)}`, `198.51.100.${20 + random.below(200)}`]),
    mine,
    inner,
  );
}

const openedFrame = (f: Uint8Array): boolean => f[10 + 9] !== 4;

describe('a tunnel from an unknown host', () => {
  it.each<Configuration>(['A', 'B', 'C'])(
    `is not decapsulated at the gateway under %s, ${TRIES} times`,
    (configuration) => {
      const h = new Harness('gateway', { configuration });
      // A race that waits for an answer, and a flow that is carried: a forger would aim at these.
      const answer = asService('SA');
      const form = {
        A: asReplica(R1, answer),
        B: tunnel(SERVICE, CLIENT, asReplica(R1, answer)),
        C: tunnel(R1.address, CLIENT, answer),
      };
      h.send([frame(syn())]);
      const [first] = h.send([frame(form[configuration])]);
      expect(parseFrame(first)!.packet.src).toBe(SERVICE);
      h.send([frame(syn({ sport: 41000 }))]);
      h.clearCounts();
      const random = new Random(SEED + 8);
      let opened = 0;
      for (let n = 0; n < TRIES; n += BATCH) {
        const batch = Array.from({ length: Math.min(BATCH, TRIES - n) }, () =>
          frame(strange(random, CLIENT)),
        );
        for (const f of h.send(batch)) if (openedFrame(f)) opened++;
      }
      const counts = h.counts();
      const s = sums(counts);
      expect(opened).toBe(0);
      expect(s.pass + s.drop).toBe(TRIES);
      expect(Object.keys(counts).filter((name) => name.startsWith('emit'))).toEqual([]);
      expect(Object.keys(counts).sort()).toEqual(['drop.tunnel-forged', 'pass.tunnel-not-ours']);
    },
  );

  it.each<Configuration>(['A', 'B', 'C'])(
    `is not decapsulated at a replica under %s, ${TRIES} times`,
    (configuration) => {
      const h = new Harness('replica', { configuration });
      expect(h.send([frame(tunnel(ORIGIN, R1.address, tagged(syn())))]).length).toBe(1);
      h.clearCounts();
      const random = new Random(SEED + 9);
      let opened = 0;
      let toService = 0;
      for (let n = 0; n < TRIES; n += BATCH) {
        const packets = Array.from({ length: Math.min(BATCH, TRIES - n) }, () => strange(random, R1.address));
        toService += packets.filter((p) => (p.body as Packet).dst === SERVICE).length;
        for (const f of h.send(packets.map(frame))) if (openedFrame(f)) opened++;
      }
      const s = sums(h.counts());
      expect(opened).toBe(0);
      expect(s.pass + s.drop).toBe(TRIES);
      // A tunnelled packet to this replica's service does not pass encapsulated either.
      expect(toService).toBeGreaterThan(10_000);
      expect(s.drop).toBeGreaterThan(10_000);
      expect(h.counts()['pass.tunnel-not-ours']).toBe(s.pass);
    },
  );
});

describe('a forged acknowledgement', () => {
  it(`decides no race of a gateway, ${TRIES} times`, () => {
    const h = new Harness('gateway', { configuration: 'A', race: 1 });
    h.send([frame(syn())]);
    const random = new Random(SEED + 10);
    h.clearCounts();
    let resets = 0;
    for (let n = 0; n < TRIES; n += BATCH) {
      const batch = Array.from({ length: Math.min(BATCH, TRIES - n) }, () => {
        const ack = random.word() >>> 0;
        // The one number in 2^32 that a machine which saw the SYN would acknowledge.
        const answer = asService('SA', { ack: ack === 0xffffffff ? 1 : ack, seq: random.word() >>> 0 });
        return frame(random.below(2) === 0 ? answer : asReplica(random.pick([R1, R2]), answer));
      });
      for (const f of h.send(batch)) {
        const { dst, body } = parseFrame(f)!.packet;
        if ((body as Tcp).flags === 'R' && dst !== CLIENT) resets++;
      }
    }
    const counts = h.counts();
    // Each is answered as a client in SYN-SENT would (RFC 9293, 3.10.7.3), to the machine alone.
    expect(counts).toEqual({ 'drop.ack-outside': TRIES, 'emit.loser-reset': TRIES });
    expect(resets).toBe(TRIES);
    h.clearCounts();
    h.send([frame(asReplica(R1, asService('SA')))]);
    expect(h.counts()['pass.won-by-replica']).toBe(1);
  });

  it('makes a gateway send a SYN again a few times in a race, and one reset each', () => {
    const h = new Harness('gateway', { configuration: 'A', race: 1 });
    h.send([frame(syn())]);
    h.clearCounts();
    const random = new Random(SEED + 12);
    const many = 1000;
    for (let n = 0; n < many; n++) {
      const challenge = asService('A', { ack: random.below(2 ** 31), options: [] });
      h.send([frame(asReplica(random.pick([R1, R2]), challenge))]);
    }
    expect(h.counts()).toEqual({
      'drop.ack-outside': many,
      'emit.loser-reset': many,
      'emit.syn-after-challenge': 32,
    });
  });
});

describe('a forged probe', () => {
  it(`is not answered by a replica, ${TRIES} times`, () => {
    const h = new Harness('replica', { configuration: 'C' });
    const random = new Random(SEED + 11);
    const word = (text: string): number => parse(text)![3];
    const [from, to] = [word(CLIENT), word(R1.address)];
    const made = (key: Int32Array, isPaired: boolean): Uint8Array => {
      const f = new Uint8Array(30 + probe.LEAST);
      const view = new DataView(f.buffer);
      const sizes = { length: probe.LEAST, replyLength: probe.LEAST, form: probe.TUNNELLED };
      const names = {
        sport: probe.PORT,
        number: random.word(),
        gatewayId: GATEWAY_ID,
        keyId: KEY_ID,
        isPaired,
      };
      probe.writeRequest(view, 30, { source: from, destination: to, ...sizes, ...names }, key);
      ipip.encapsulate(view, 30, from, to, 0);
      return f;
    };
    h.send([made(Int32Array.from(GATEWAYS[0].keys[0].words), false)]);
    expect(h.counts()['emit.probe-answer']).toBe(1);
    h.clearCounts();
    for (let n = 0; n < TRIES; n += BATCH)
      h.send(
        Array.from({ length: Math.min(BATCH, TRIES - n) }, () =>
          made(
            Int32Array.from({ length: 4 }, () => random.word()),
            random.below(2) === 0,
          ),
        ),
      );
    expect(h.counts()).toEqual({ 'drop.probe-forged': TRIES });
  });
});
