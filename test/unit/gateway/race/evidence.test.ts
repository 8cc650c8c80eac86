/** Each counter of a machine rises on the packet that it names, through the TUN; hooks are in `kernel-evidence.test.ts`. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { evidence, groupOf, groupOfClient, rowOf, SHOWN } from '../../../../gateway/race/evidence.js';
import { parse } from '../../../../src/wire/address.js';
import { answerOnWan, CONFIGURATIONS, dataOnWan, synAck } from '../../../contract/row.js';
import {
  asService,
  CLIENT,
  fromClient,
  NOW_SECONDS,
  R1,
  R2,
  SERVER_ISN,
  syn,
  text,
} from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame, type Packet } from '../../../support/naive.js';
import type { Configuration, World } from '../../../support/world.js';

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

const ORIGIN = 0;
/** The client's address as `RaceFlows.clientNumber` has it. */
const clientNumber = parse(CLIENT)![3] ^ Math.imul(0xffff, 0x85ebca6b);
const request = fromClient('PA', { payload: text('GET / HTTP/1.1\r\n\r\n') });
const page = (more = {}): Packet =>
  asService('PA', { seq: SERVER_ISN + 1, payload: text('HTTP/1.1 200 OK'), ...more });
const refusal = asService('RA', { seq: 0, window: 0 });
const TICK_US = 100_000;

class Bed extends Harness {
  constructor(
    readonly configuration: Configuration,
    world: Partial<World> = {},
  ) {
    super('gateway', { configuration, race: 1, ...world });
  }
  put(...packets: Packet[]): number {
    return this.send(packets.map((p) => frame(p))).length;
  }
  /** R1 wins; the others stay silent. */
  open(): this {
    this.put(syn());
    this.put(answerOnWan(this.configuration, R1, synAck()));
    this.put(fromClient('A'));
    return this;
  }
  /** Lets time pass, with the data plane's ticks. */
  wait(ms: number): void {
    for (let t = 0; t < ms; t += 100) {
      this.clock.nowUs += TICK_US;
      this.tick();
    }
  }
  /** The counters of a machine that are not 0. */
  seen(candidate: number): Record<string, number> {
    const row = rowOf(0, candidate);
    const words = SHOWN.map((what) => [what, this.memory.evidence[row + evidence[what]]] as const);
    return Object.fromEntries(words.filter(([, n]) => n !== 0));
  }
  word(candidate: number, word: number): number {
    return this.memory.evidence[rowOf(0, candidate) + word];
  }
}

const WON = { asked: 1, answered: 1, won: 1 };

describe.each(CONFIGURATIONS)('configuration %s', (c) => {
  it('asked, answered, won: SYNs and SYN-ACKs; a repeated one counts once', () => {
    const h = new Bed(c);
    h.put(syn());
    expect([0, 1, 2].map((n) => h.seen(n))).toEqual([{ asked: 1 }, { asked: 1 }, { asked: 1 }]);
    h.clock.nowUs += 1000;
    h.put(answerOnWan(c, R1, synAck()), answerOnWan(c, R2, synAck()), synAck());
    h.put(answerOnWan(c, R1, synAck()), answerOnWan(c, R2, synAck()));
    expect([0, 1, 2].map((n) => h.seen(n))).toEqual([
      { asked: 1, answered: 1 },
      WON,
      { asked: 1, answered: 1 },
    ]);
  });

  it('refused: a RST to a SYN; a repeated one counts once', () => {
    const h = new Bed(c);
    h.put(syn());
    h.put(answerOnWan(c, R2, refusal), answerOnWan(c, R2, refusal));
    expect(h.seen(2)).toEqual({ asked: 1, refused: 1 });
  });

  it('requested, firstBytes: the first data of each direction, and the time between', () => {
    const h = new Bed(c).open();
    h.put(request);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1 });
    h.clock.nowUs += 7000;
    h.put(dataOnWan(c, R1, page()));
    h.put(dataOnWan(c, R1, page()), request);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
    expect(h.word(1, evidence.sumUs)).toBe(7000);
    const group = evidence.groups + groupOfClient(clientNumber) * groupOf.stride;
    expect(h.word(1, group + groupOf.firstBytes)).toBe(1);
    expect(h.word(1, group + groupOf.sumUs)).toBe(7000);
    h.wait(5000);
    h.put(fromClient('RA'));
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
  });

  it('firstBytes: the client acknowledges bytes that did not pass here; a FIN alone is none', () => {
    const h = new Bed(c).open();
    h.put(request);
    h.put(fromClient('A', { ack: SERVER_ISN + 2 }));
    expect(h.seen(1)).toEqual({ ...WON, requested: 1 });
    h.put(fromClient('A', { ack: SERVER_ISN + 1 + 15 }));
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
  });

  it('noFirstByte: the request stands for three seconds, once', () => {
    const h = new Bed(c).open();
    h.put(request);
    h.wait(2900);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1 });
    h.wait(200);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, noFirstByte: 1 });
    const group = evidence.groups + groupOfClient(clientNumber) * groupOf.stride;
    expect(h.word(1, group + groupOf.failed)).toBe(1);
    h.put(fromClient('RA'));
    h.wait(5000);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, noFirstByte: 1 });
  });

  it('noFirstByte: the client gives up (RST) before any byte', () => {
    const h = new Bed(c).open();
    h.put(request, fromClient('RA'));
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, noFirstByte: 1 });
  });

  it('noFirstByte: a client that closes its direction after the request may still be answered', () => {
    const h = new Bed(c).open();
    h.put(request, fromClient('FA'));
    expect(h.seen(1)).toEqual({ ...WON, requested: 1 });
    h.put(dataOnWan(c, R1, page()));
    h.wait(4000);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
  });

  it('nothing fails when the client never sends a request, or the server speaks first', () => {
    const h = new Bed(c).open();
    h.wait(4000);
    h.put(dataOnWan(c, R1, page()), request);
    h.wait(4000);
    h.put(fromClient('RA'));
    expect(h.seen(1)).toEqual({ ...WON, requested: 1 });
  });

  it('reset: the server resets an established connection before its first byte', () => {
    const h = new Bed(c).open();
    h.put(request, answerOnWan(c, R1, asService('R', { seq: SERVER_ISN + 1 })));
    h.wait(4000);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, reset: 1 });
  });

  it('no reset: after its first byte, or in answer to a client that has given up', () => {
    const h = new Bed(c).open();
    const rst = answerOnWan(c, R1, asService('R', { seq: SERVER_ISN + 1 }));
    h.put(request, dataOnWan(c, R1, page()), rst);
    expect(h.seen(1)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
    const g = new Bed(c).open();
    g.put(fromClient('RA'), rst);
    expect(g.seen(1)).toEqual(WON);
  });

  it("the origin's connections count too", () => {
    const h = new Bed(c);
    h.put(syn());
    h.put(synAck());
    h.put(fromClient('A'), request);
    h.wait(3200);
    expect(h.seen(ORIGIN)).toEqual({ ...WON, requested: 1, noFirstByte: 1 });
  });

  it('a learned race counts whom it asks, with its hedge', () => {
    const h = new Bed(c, { race: 2 });
    h.put(syn({ sport: 39_999, seq: 4000 }, { src: '10.1.0.99' }));
    expect([0, 1, 2].map((n) => h.seen(n).asked)).toEqual([1, 1, 1]);
  });

  it('numbers that mean another machine begin at 0', () => {
    const h = new Bed(c).open();
    h.put(request);
    h.change({ generations: [0, 1, 0] });
    expect(h.seen(1)).toEqual({});
    expect(h.seen(2)).toEqual({ asked: 1 });
  });
});

describe.each([1, 2] as const)('a trial, race %i', (race) => {
  const ejected = { race, live: [false, true] };

  it.each(CONFIGURATIONS)('%s: is given to one connection, and alone', (c) => {
    const h = new Bed(c, { ...ejected, trials: [1, 0] });
    expect(h.put(syn())).toBe(1);
    expect([0, 1, 2].map((n) => h.seen(n))).toEqual([{}, { asked: 1, trials: 1 }, {}]);
    // A snapshot with the same order gives no second one.
    h.change({});
    h.put(syn({ sport: 41_000 }));
    expect([0, 1, 2].map((n) => h.seen(n))).toEqual([{ asked: 1 }, { asked: 1, trials: 1 }, { asked: 1 }]);
    h.change({ trials: [2, 0] });
    h.put(syn({ sport: 41_001 }));
    expect(h.seen(1)).toEqual({ asked: 2, trials: 2 });
  });

  it('succeeds with the first byte', () => {
    const h = new Bed('A', { ...ejected, trials: [1, 0] }).open();
    h.put(request);
    h.clock.nowUs += 9000;
    h.put(dataOnWan('A', R1, page()));
    expect([evidence.trialsGood, evidence.trialsBad, evidence.trialUs].map((w) => h.word(1, w))).toEqual([
      1, 0, 9000,
    ]);
  });

  it.each<[string, (h: Bed) => void]>([
    ['no first byte comes', (h) => h.put(answerOnWan('A', R1, synAck()), request, fromClient('RA'))],
    ['the machine refuses', (h) => h.put(answerOnWan('A', R1, refusal))],
    [
      'another machine wins after the hedge',
      (h) => {
        h.advance(600_000);
        h.put(answerOnWan('A', R2, synAck()));
      },
    ],
  ])('fails when %s, once', (_, happens) => {
    const h = new Bed('A', { ...ejected, trials: [1, 0] });
    h.put(syn());
    happens(h);
    h.put(answerOnWan('A', R1, refusal));
    h.wait(4000);
    expect([evidence.trialsGood, evidence.trialsBad].map((w) => h.word(1, w))).toEqual([0, 1]);
  });
});

it('neighbours in one prefix are in different groups', () => {
  const groups = new Set(Array.from({ length: 64 }, (_, n) => groupOfClient(clientNumber + n)));
  expect(groups.size).toBe(8);
});
