// Races of a gateway over IPv6, in configuration A: every packet of a connection, read byte by byte.
import { describe, expect, it } from 'vitest';
import {
  answer,
  CLIENT,
  type Gateway6,
  LEARNED,
  R1,
  R2,
  R2_PORT,
  SERVICE,
  SYN,
} from '../support/gateway6.js';
import { error6, frame6, read6, readError6 } from '../support/v6.js';

/** @param make a gateway, with or without hooks in front of it */
export function ipv6Table(make: (race?: 0 | 1 | 2) => Gateway6): void {
  it('asks every machine at its own address and port', () => {
    const out = make().send(SYN);
    expect(out.every((p) => p.isSound)).toBe(true);
    expect(out.map((p) => [p.src, p.dst, p.dport, p.seq]).sort()).toEqual([
      [CLIENT, R1, 80, 1000],
      [CLIENT, R2, R2_PORT, 1000],
      [CLIENT, SERVICE, 80, 1000],
    ]);
  });

  it('passes the first answer as the service, and resets the losers with their exact numbers [rule 13]', () => {
    const g = make();
    g.send(SYN);
    const [won] = g.send(answer(R2, R2_PORT));
    expect(won).toMatchObject({
      src: SERVICE,
      sport: 80,
      dst: CLIENT,
      dport: 40_000,
      ack: 1001,
      isSound: true,
    });
    for (const [loser, port] of [
      [R1, 80],
      [SERVICE, 80],
    ] as const) {
      const out = g.send(answer(loser, port));
      expect(out).toHaveLength(1);
      expect(out[0]).toMatchObject({ src: CLIENT, sport: 40_000, dst: loser, dport: port, isSound: true });
      expect(out[0]).toMatchObject({ seq: 1001, flags: 'R', payload: [] });
    }
    expect(g.count('drop.loser')).toBe(2);
  });

  it('carries the connection to the winner and back, with odd payloads and extension headers [rules 28, 38]', () => {
    const g = make();
    g.send(SYN);
    g.send(answer(R2, R2_PORT));
    const [up] = g.send({ ...SYN, seq: 1001, ack: 7001, flags: 'PA', payload: [1, 2, 3] });
    expect(up).toMatchObject({ src: CLIENT, dst: R2, dport: R2_PORT, payload: [1, 2, 3], isSound: true });
    const headers: [number, number[]][] = [[60, [0, 0, 1, 4, 0, 0, 0, 0]]];
    const behind = frame6({ ...answer(R2, R2_PORT), flags: 'PA', seq: 7001, payload: [9], headers });
    const [down] = g.frames(behind).map((f) => read6(f, 8));
    expect(down).toMatchObject({ src: SERVICE, sport: 80, dst: CLIENT, payload: [9], isSound: true });
    // Another machine's packets are not the connection's.
    expect(g.send({ ...answer(R1, 80), flags: 'PA', payload: [6] })).toEqual([]);
    expect(g.count('drop.not-the-winner')).toBe(1);
  });

  it('keeps a bad checksum bad [rule 29]', () => {
    const g = make();
    const frame = frame6(SYN);
    frame[frame.length - 1] ^= 0xff;
    expect(g.frames(frame).map((f) => read6(f).isSound)).toEqual([false, false, false]);
  });

  it('asks the learned winner alone, and the others when it is late', () => {
    const g = make(LEARNED);
    for (const sport of [41_000, 41_001]) {
      g.pass(2e6);
      g.send({ ...SYN, sport });
      g.pass(30_000);
      g.send({ ...answer(R2, R2_PORT), dport: sport });
      g.pass(60_000);
      for (const [other, port] of [
        [R1, 80],
        [SERVICE, 80],
      ] as const)
        g.send({ ...answer(other, port), dport: sport });
    }
    const alone = g.send({ ...SYN, seq: 77_777 });
    expect(alone.map((p) => p.dst)).toEqual([R2]);
    const others = g.advance(1e5);
    expect(others.map((p) => p.dst).sort()).toEqual([R1, SERVICE]);
    expect(others.every((p) => p.isSound && p.src === CLIENT)).toBe(true);
  });

  describe('errors', () => {
    const ROUTER = '2001:db8:99:0:0:0:0:1';
    const carried = (): Gateway6 => {
      const g = make();
      g.send(SYN);
      g.send(answer(R2, R2_PORT));
      return g;
    };
    const up = { src: CLIENT, seq: 1001, ack: 7001, flags: 'A', payload: [1, 2, 3, 4] };

    it('about what went to the winner reach the client in its own terms [rule 32]', () => {
      const quotes = frame6({ ...up, dst: R2, dport: R2_PORT });
      const [out] = carried().frames(error6({ src: ROUTER, dst: CLIENT, type: 2, mtu: 1400, quotes }));
      const told = readError6(out);
      expect(told).toMatchObject({ src: ROUTER, dst: CLIENT, type: 2, mtu: 1400, isSound: true });
      expect(told.quotes).toMatchObject({ src: CLIENT, dst: SERVICE, dport: 80, isSound: true });
    });

    it('about what the winner sent reach the winner in its own terms [rule 32]', () => {
      const quotes = frame6({ ...answer(SERVICE, 80), flags: 'A', payload: [9, 9] });
      const [out] = carried().frames(error6({ src: ROUTER, dst: SERVICE, type: 2, mtu: 1300, quotes }));
      const told = readError6(out);
      expect(told).toMatchObject({ src: ROUTER, dst: R2, type: 2, mtu: 1300, isSound: true });
      expect(told.quotes).toMatchObject({ src: R2, sport: R2_PORT, dst: CLIENT, isSound: true });
    });

    it('about a loser, damaged, or about nothing of ours change nothing [rule 33]', () => {
      const g = carried();
      const loser = error6({ src: ROUTER, dst: CLIENT, type: 1, quotes: frame6({ ...up, dst: R1 }) });
      const damaged = error6({
        src: ROUTER,
        dst: CLIENT,
        type: 2,
        quotes: frame6({ ...up, dst: R2, dport: R2_PORT }),
      });
      damaged[damaged.length - 1] ^= 1;
      expect(g.frames(loser, damaged)).toEqual([]);
      expect([g.count('drop.icmp-about-loser'), g.count('drop.icmp-checksum')]).toEqual([1, 1]);
      const foreign = error6({ src: ROUTER, dst: CLIENT, type: 2, quotes: frame6({ ...up, dst: ROUTER }) });
      expect(g.frames(foreign)).toEqual([foreign]);
    });

    it('about the SYN of a race are the loss of that candidate only [rule 14]', () => {
      const g = make();
      g.send(SYN);
      const about = (dst: string, dport: number) =>
        error6({ src: ROUTER, dst: CLIENT, type: 1, quotes: frame6({ ...SYN, dst, dport }) });
      expect(g.frames(about(R1, 80))).toEqual([]);
      expect(g.count('drop.icmp-others-pending')).toBe(1);
      expect(g.send(answer(R2, R2_PORT))[0]).toMatchObject({ src: SERVICE, isSound: true });
    });
  });

  it('is left to the origin where the form needs a tag, and says so', () => {
    const g = make(0);
    expect(g.send(SYN).map((p) => p.dst)).toEqual([SERVICE]);
    expect(g.count('pass.syn-ipv6-in-this-form')).toBe(1);
  });

  it('meets the same choice with a repeated SYN, and forwards the repeated answer [rules 10, 11]', () => {
    const g = make();
    g.send(SYN);
    g.send(answer(R2, R2_PORT));
    expect(g.send(SYN).map((p) => [p.dst, p.isSound])).toEqual([[R2, true]]);
    expect(g.send(answer(R2, R2_PORT))[0]).toMatchObject({ src: SERVICE, ack: 1001, isSound: true });
  });

  it('is not won by an acknowledgement of another SYN [rule 12]', () => {
    const g = make();
    g.send(SYN);
    const [reset] = g.send({ ...answer(R1, 80), ack: 999 });
    expect(reset).toMatchObject({ dst: R1, seq: 999, flags: 'R' });
    expect(g.send(answer(R2, R2_PORT))[0]).toMatchObject({ src: SERVICE });
  });

  it('gives a SYN with data to one machine, uncopied [rule 5]', () => {
    const g = make();
    expect(g.send({ ...SYN, payload: [1, 2] }).map((p) => [p.dst, p.payload])).toEqual([[SERVICE, [1, 2]]]);
  });

  it('keeps other options as they are, and ECN flags [rules 3, 7]', () => {
    const options = [2, 4, 5, 0xa0, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    const out = make().frames(frame6({ ...SYN, flags: 'SEC', options }));
    expect(out).toHaveLength(3);
    for (const f of out) {
      expect([...f.slice(70)]).toEqual(options);
      expect(read6(f)).toMatchObject({ flags: 'SEC', isSound: true });
    }
  });

  it.each([
    ['TCP-MD5', [19, 18, ...Array(16).fill(7), 1, 1]],
    ['TCP-AO', [29, 16, ...Array(14).fill(7)]],
  ])('a SYN with %s goes to the origin alone, as it is [rule 4]', (_, options) => {
    const syn = frame6({ ...SYN, options });
    expect(make().frames(syn.slice())).toEqual([syn]);
  });

  it("passes the server's own SYN (simultaneous open) [rule 18]", () => {
    const g = make();
    g.send(SYN);
    const own = frame6({ ...answer(SERVICE, 80), flags: 'S', ack: 0 });
    expect(g.frames(own.slice())).toEqual([own]);
  });

  it('never shares a connection between two clients on one port [rule 26]', () => {
    const g = make();
    const other = '2001:db8:0:2:0:0:0:7';
    for (const src of [CLIENT, other]) g.send({ ...SYN, src });
    g.send(answer(R2, R2_PORT));
    g.send({ ...answer(R1, 80), dst: other });
    const data = { flags: 'PA', seq: 1001, ack: 7001, payload: [1] };
    expect(g.send({ ...SYN, ...data })[0].dst).toBe(R2);
    expect(g.send({ ...SYN, ...data, src: other })[0].dst).toBe(R1);
  });

  it('takes no address with an IPv4 address inside for one of IPv4', () => {
    const g = make();
    const out = g.frames(
      frame6({ ...SYN, src: '::ffff:192.0.2.7' }),
      frame6({ ...SYN, dst: '::203.0.113.10' }),
    );
    expect(out).toHaveLength(2);
    expect(g.count('pass.not-ipv4')).toBe(2);
  });
}
