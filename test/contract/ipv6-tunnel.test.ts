// Configuration C over IPv6: a gateway's and a replica's whole pipelines, every packet read byte by byte.
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { NOW_SECONDS } from '../support/builder.js';
import { CLIENT, Gateway6, R1, R2, SERVICE, SYN, TUNNELLED } from '../support/gateway6.js';
import { Replica6 } from '../support/replica6.js';
import { error6, frame6, read6, readError6, type Tcp6, tunnel6, untunnel6 } from '../support/v6.js';

const ROUTER = '2001:db8:99:0:0:0:0:1';
const fromServer = (p: Partial<Tcp6>): Uint8Array =>
  frame6({ src: SERVICE, sport: 80, dst: CLIENT, dport: 40_000, ...p });
const SYN_ACK = fromServer({ seq: 7000, ack: 1001, flags: 'SA' });

/** The frames in the tunnels of a list, by outer destination. */
function tunnels(frames: readonly Uint8Array[]): Map<string, ReturnType<typeof untunnel6>> {
  const all = frames.filter((f) => f[10 + 6] === 41).map(untunnel6);
  return new Map(all.map((t) => [t.dst, t]));
}

let g: Gateway6;
let r2: Replica6;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
  g = new Gateway6(1, TUNNELLED);
  r2 = new Replica6(R2);
});

/** Races, and lets r2 win. @returns what the gateway sent with the SYN */
function race(): Uint8Array[] {
  const asked = g.frames(frame6(SYN));
  r2.frames(tunnel6(tunnels(asked).get(R2)!.inside, CLIENT, R2));
  g.frames(...r2.frames(SYN_ACK));
  return asked;
}

describe('configuration C: a race over IPv6', () => {
  it('asks every replica in a tunnel, with a tag, and the origin without', () => {
    const out = g.frames(frame6(SYN));
    expect(out).toHaveLength(3);
    const asked = tunnels(out);
    expect([...asked.keys()].sort()).toEqual([R1, R2]);
    for (const t of asked.values()) {
      expect(t.src).toBe(CLIENT);
      expect(read6(t.inside)).toMatchObject({
        src: CLIENT,
        dst: SERVICE,
        dport: 80,
        seq: 1000,
        isSound: true,
      });
    }
    const plain = out.filter((f) => f[10 + 6] === 6).map((f) => read6(f));
    expect(plain).toMatchObject([{ src: CLIENT, dst: SERVICE, seq: 1000, isSound: true }]);
  });

  it('the replica takes the SYN out, without its tag, and answers in a tunnel to the client [rule 8]', () => {
    const asked = tunnels(g.frames(frame6(SYN))).get(R2)!;
    const [opened] = r2.frames(tunnel6(asked.inside, CLIENT, R2));
    expect(opened).toEqual(frame6(SYN));
    expect(r2.count('pass.syn-cracked')).toBe(1);
    const [answered] = r2.frames(SYN_ACK).map(untunnel6);
    expect(answered).toMatchObject({ src: R2, dst: CLIENT });
    expect(answered.inside).toEqual(SYN_ACK);
    const [won] = g.frames(tunnel6(answered.inside, R2, CLIENT));
    expect(read6(won)).toMatchObject({ src: SERVICE, sport: 80, dst: CLIENT, ack: 1001, isSound: true });
  });

  it('losers are reset in their tunnels with their exact numbers [rule 13]', () => {
    race();
    const late = tunnel6(fromServer({ seq: 9000, ack: 1001, flags: 'SA' }), R1, CLIENT);
    const [reset] = g.frames(late).map(untunnel6);
    expect(reset).toMatchObject({ src: CLIENT, dst: R1 });
    expect(read6(reset.inside)).toMatchObject({
      src: CLIENT,
      dst: SERVICE,
      seq: 1001,
      flags: 'R',
      isSound: true,
    });
    expect(g.count('drop.loser')).toBe(1);
  });

  it('carries the connection both ways in tunnels; traffic class and flow label are outside too [rule 28]', () => {
    race();
    const up = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'PA', payload: [1, 2, 3] });
    up.set([0x62, 0x85, 0x43, 0x21], 10);
    const [sent] = g.frames(up.slice()).map(untunnel6);
    expect(sent).toMatchObject({ src: CLIENT, dst: R2, first: 0x62854321 });
    expect(sent.inside).toEqual(up);
    expect(r2.frames(tunnel6(sent.inside, CLIENT, R2, 0x62854321))).toEqual([up]);
    const down = fromServer({ seq: 7001, ack: 1004, flags: 'PA', payload: [9] });
    const [back] = r2.frames(down.slice()).map(untunnel6);
    expect(g.frames(tunnel6(back.inside, R2, CLIENT))).toEqual([down]);
  });

  it('a congestion mark outside comes in, and one on a packet that does not take part is dropped [rule 37]', () => {
    race();
    const ect = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'A', payload: [1] });
    ect.set([0x60, 0x20], 10);
    const [marked] = r2.frames(tunnel6(ect, CLIENT, R2, 0x60300000));
    expect((marked[11] >>> 4) & 3).toBe(3);
    const not = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'A', payload: [1] });
    expect(r2.frames(tunnel6(not, CLIENT, R2, 0x60300000))).toEqual([]);
    expect(r2.count('drop.ecn')).toBe(1);
  });

  it('lowers the MSS to what a tunnel of IPv6 leaves', () => {
    const syn = frame6({ ...SYN, options: [2, 4, 0x05, 0xa0, 1, 1, 1, 0] });
    const asked = tunnels(g.frames(syn)).get(R2)!;
    const l4 = 10 + 40;
    expect([...asked.inside.slice(l4 + 20, l4 + 24)]).toEqual([2, 4, 1400 >> 8, 1400 & 255]);
    expect(read6(asked.inside).isSound).toBe(true);
  });

  it('a SYN without room for a tag goes to the origin alone [rule 1]', () => {
    const full = frame6({ ...SYN, options: Array(28).fill(1) });
    expect(g.frames(full.slice())).toEqual([full]);
    expect(g.count('pass.syn-no-room-for-tag')).toBe(1);
  });

  it('an option of the same kind with another ExID is no tag, and stays [rule 2]', () => {
    const other = [253, 8, 0x12, 0x34, 1, 2, 3, 4];
    const asked = tunnels(g.frames(frame6({ ...SYN, options: other }))).get(R2)!;
    const [opened] = r2.frames(tunnel6(asked.inside, CLIENT, R2));
    expect(opened).toEqual(frame6({ ...SYN, options: other }));
  });

  it('other options stay as they are, and ECN flags [rules 3, 7]', () => {
    const options = [4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    const syn = frame6({ ...SYN, flags: 'SEC', options });
    const asked = tunnels(g.frames(syn.slice())).get(R2)!;
    expect(r2.frames(tunnel6(asked.inside, CLIENT, R2))).toEqual([syn]);
  });

  it.each([
    ['TCP-MD5', [19, 18, ...Array(16).fill(7), 1, 1]],
    ['TCP-AO', [29, 16, ...Array(14).fill(7)]],
  ])('a SYN with %s goes to the origin alone, as it is [rule 4]', (_, options) => {
    const syn = frame6({ ...SYN, options });
    expect(g.frames(syn.slice())).toEqual([syn]);
  });

  it("the server's own SYN (simultaneous open) passes [rule 18]", () => {
    g.frames(frame6(SYN));
    const own = fromServer({ flags: 'S', seq: 1 });
    expect(g.frames(own.slice())).toEqual([own]);
  });

  it('a SYN with data goes to the origin alone [rule 5]', () => {
    const syn = frame6({ ...SYN, payload: [1, 2] });
    expect(g.frames(syn.slice())).toEqual([syn]);
  });

  it('a repeated SYN meets the same choice, and a repeated answer is forwarded [rules 10, 11]', () => {
    race();
    const [again] = g.frames(frame6(SYN)).map(untunnel6);
    expect(again).toMatchObject({ src: CLIENT, dst: R2 });
    expect(g.frames(tunnel6(SYN_ACK, R2, CLIENT))).toEqual([SYN_ACK]);
  });

  it('an acknowledgement of another SYN wins nothing [rule 12]', () => {
    g.frames(frame6(SYN));
    const [reset] = g.frames(tunnel6(fromServer({ ack: 999, flags: 'SA' }), R1, CLIENT)).map(untunnel6);
    expect(reset.dst).toBe(R1);
    expect(read6(reset.inside)).toMatchObject({ seq: 999, flags: 'R' });
    expect(g.frames(tunnel6(SYN_ACK, R2, CLIENT))).toEqual([SYN_ACK]);
  });

  it('a SYN-ACK without an entry gets an exact reset, in its tunnel [rule 17]', () => {
    const [reset] = g.frames(tunnel6(SYN_ACK, R2, CLIENT)).map(untunnel6);
    expect(reset).toMatchObject({ src: CLIENT, dst: R2 });
    expect(read6(reset.inside)).toMatchObject({ seq: 1001, flags: 'R', isSound: true });
  });

  it('extension headers stay where they are, and a bad checksum stays bad [rules 29, 38]', () => {
    race();
    const headers: [number, number[]][] = [[60, [0, 0, 1, 4, 0, 0, 0, 0]]];
    const up = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'PA', payload: [5], headers });
    up[up.length - 1] ^= 0xff;
    const [sent] = g.frames(up.slice()).map(untunnel6);
    expect(sent.inside).toEqual(up);
    expect(r2.frames(tunnel6(sent.inside, CLIENT, R2))).toEqual([up]);
  });

  it('is left to the origin in configuration B, and in an origin race', () => {
    const spoofed = { services: [{ ...TUNNELLED.services![0], mode: 1 as const }] };
    for (const other of [new Gateway6(0, TUNNELLED), new Gateway6(1, spoofed)]) {
      expect(other.frames(frame6(SYN))).toEqual([frame6(SYN)]);
      expect(other.count('pass.syn-ipv6-in-this-form')).toBe(1);
    }
  });

  describe('a stranger', () => {
    it.each([
      ['without a tag', (f: Uint8Array) => tunnel6(frame6(SYN), CLIENT, R2) ?? f, 'drop.syn-untagged'],
      [
        'with a tag of another client',
        (f: Uint8Array) => {
          const forged = f.slice();
          forged[10 + 8 + 15] ^= 1;
          return tunnel6(forged, CLIENT, R2);
        },
        'drop.tag-forged',
      ],
      [
        'from another network',
        (f: Uint8Array) => {
          const foreign = f.slice();
          foreign[10 + 8 + 5] ^= 1;
          return tunnel6(foreign, CLIENT, R2);
        },
        'drop.tag-foreign',
      ],
    ])('%s opens no connection', (_, change, reason) => {
      const { inside } = tunnels(g.frames(frame6(SYN))).get(R2)!;
      expect(r2.frames(change(inside))).toEqual([]);
      expect(r2.count(reason)).toBe(1);
    });

    it('who sends a tunnelled packet of a flow from another source is not heard [rule 39]', () => {
      race();
      const data = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'A', payload: [1] });
      expect(r2.frames(tunnel6(data, ROUTER, R2))).toEqual([]);
      expect(r2.count('drop.tunnel-forged')).toBe(1);
      expect(g.frames(tunnel6(fromServer({ flags: 'A' }), ROUTER, CLIENT))).toEqual([]);
      expect(g.count('drop.tunnel-forged')).toBe(1);
    });

    it('nested tunnels, fragments and other protocols stay as they are', () => {
      race();
      const nested = tunnel6(tunnel6(SYN_ACK, R2, CLIENT), R2, CLIENT);
      expect(g.frames(nested.slice())).toEqual([nested]);
      const truncated = tunnel6(SYN_ACK, R2, CLIENT).slice(0, 10 + 40 + 30);
      truncated[10 + 5] = 30;
      expect(g.frames(truncated)).toEqual([]);
      expect(g.count('drop.malformed')).toBe(1);
    });
  });

  describe('errors', () => {
    it('about the tunnel to the winner reach the client in its own terms, less the tunnel [rules 32, 35]', () => {
      race();
      const data = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'A', payload: [1, 2, 3, 4] });
      const quotes = tunnel6(data, CLIENT, R2);
      const [out] = g.frames(error6({ src: ROUTER, dst: CLIENT, type: 2, mtu: 1400, quotes }));
      const told = readError6(out);
      expect(told).toMatchObject({ src: ROUTER, dst: CLIENT, type: 2, mtu: 1360, isSound: true });
      expect(told.quotes).toMatchObject({ src: CLIENT, dst: SERVICE, dport: 80, isSound: true });
    });

    it('that are no matter of size become "address unreachable"; a loser\'s change nothing [rules 33, 35]', () => {
      race();
      const data = frame6({ ...SYN, seq: 1001, ack: 7001, flags: 'A' });
      const about = (replica: string) =>
        error6({ src: ROUTER, dst: CLIENT, type: 3, quotes: tunnel6(data, CLIENT, replica) });
      expect(g.frames(about(R2)).map(readError6)).toMatchObject([{ type: 1, isSound: true }]);
      expect(g.frames(about(R1))).toEqual([]);
      expect(g.count('drop.icmp-about-loser')).toBe(1);
    });

    it('about the SYN of a race are the loss of that candidate only [rule 14]', () => {
      const { inside } = tunnels(g.frames(frame6(SYN))).get(R1)!;
      const quotes = tunnel6(inside, CLIENT, R1);
      expect(g.frames(error6({ src: ROUTER, dst: CLIENT, type: 1, quotes }))).toEqual([]);
      expect(g.count('drop.icmp-others-pending')).toBe(1);
    });

    it("about what the winner sent reach the winner's server, through the tunnel [rules 32, 35]", () => {
      race();
      const quotes = fromServer({ seq: 7001, ack: 1001, flags: 'A', payload: [9, 9] });
      const told = error6({ src: ROUTER, dst: SERVICE, type: 2, mtu: 1300, quotes });
      const [sent] = g.frames(told.slice()).map(untunnel6);
      expect(sent).toMatchObject({ src: CLIENT, dst: R2 });
      expect(r2.frames(tunnel6(sent.inside, CLIENT, R2))).toEqual([told]);
      // About the tunnel itself, on the way to the client.
      const outer = error6({ src: ROUTER, dst: R2, type: 2, mtu: 1400, quotes: tunnel6(quotes, R2, CLIENT) });
      const [inner] = r2.frames(outer);
      expect(readError6(inner)).toMatchObject({ dst: SERVICE, type: 2, mtu: 1360, isSound: true });
      expect(r2.count('pass.icmp-relayed')).toBe(2);
    });
  });
});
