// A winner that refuses the connection, or cannot be reached, before the client has confirmed its acknowledgement: that was lost,
// and the winner has gone meanwhile. The client is not told; its next SYN is raced. Found in `bench attacks --only upgrade`.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  icmpAbout,
  NOW_SECONDS,
  R1,
  STRANGER,
  syn,
  tagged,
  toReplica,
  tunnel,
} from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame, type Packet } from '../../../support/naive.js';

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

const UNREACHABLE = [3, 1] as const;
const PROTOCOL_UNREACHABLE = [3, 2] as const;
const TOO_BIG = [3, 4] as const;
const EXPIRED = [11, 0] as const;

describe.each(['A', 'C'] as const)('configuration %s', (configuration) => {
  let h: Harness;
  const toWinner = (p: Packet, tag = false): Packet =>
    configuration === 'A' ? toReplica(R1, p) : tunnel(CLIENT, R1.address, tag ? tagged(p) : p);
  const ofWinner = (p: Packet): Packet =>
    configuration === 'A' ? asReplica(R1, p) : tunnel(R1.address, CLIENT, p);
  const about = (kind: readonly [number, number], p: Packet): Packet =>
    icmpAbout(STRANGER, CLIENT, kind, p, { bytes: 200 });
  const send = (p: Packet): number => h.send([frame(p)]).length;

  beforeEach(() => {
    h = new Harness('gateway', { configuration, race: 1 });
    send(syn());
    send(ofWinner(asService('SA')));
    h.clearCounts();
  });

  it.each([
    ['an error about its SYN', () => about(UNREACHABLE, toWinner(syn(), true)), 'drop.icmp-others-pending'],
    [
      'one about the SYN again',
      () => about(PROTOCOL_UNREACHABLE, toWinner(syn())),
      'drop.icmp-others-pending',
    ],
    [
      'its RST that answers the SYN',
      () => ofWinner(asService('RA', { seq: 0 })),
      'drop.refused-others-pending',
    ],
  ] as const)('after %s the next SYN is raced', (_, of, reason) => {
    expect(send(of())).toBe(0);
    expect(h.counts()).toEqual({ [reason]: 1 });
    h.clock.nowUs += 1e6;
    h.tick();
    h.clearCounts();
    expect(send(syn())).toBeGreaterThan(1);
    expect(h.counts()['pass.syn-raced']).toBe(1);
    // Whoever answers now carries the connection.
    expect(send(asService('SA'))).toBe(1);
    h.clearCounts();
    expect(send(fromClient('A'))).toBe(1);
    expect(h.counts()).toEqual({ 'pass.to-origin': 1 });
  });

  it.each([
    ['a time exceeded', () => about(EXPIRED, toWinner(syn()))],
    ['a packet that is too big', () => about(TOO_BIG, toWinner(syn()))],
    ['an error about another SYN', () => about(UNREACHABLE, toWinner(syn({ seq: 7 })))],
  ] as const)('%s is passed on, and the connection stays', (_, of) => {
    expect(send(of())).toBe(1);
    h.clearCounts();
    expect(send(syn())).toBe(1);
    expect(h.counts()['pass.syn-raced']).toBeUndefined();
  });

  it('once the client has confirmed the connection, it is told', () => {
    send(fromClient('A'));
    h.clearCounts();
    expect(send(about(UNREACHABLE, toWinner(syn())))).toBe(1);
    expect(h.counts()).toEqual({ 'pass.icmp-relayed': 1 });
    expect(send(ofWinner(asService('RA', { seq: 0 })))).toBe(1);
  });

  it('its RST of another number is passed on: the server has ended the connection', () => {
    expect(send(ofWinner(asService('R')))).toBe(1);
  });
});
