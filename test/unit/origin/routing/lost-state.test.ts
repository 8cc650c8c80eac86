// What routers tell each other about flows, and how a connection is found that a router does not know.
import { describe, expect, it } from 'vitest';
import { parse } from '../../../../src/wire/address.js';
import { ip, raw, tcp, tcpOf, tunnel } from '../../../support/builder.js';
import type { Packet } from '../../../support/naive.js';
import {
  BESIDE,
  CLIENT,
  MEMBERS,
  neighbours,
  OWN,
  SlrHarness,
  snapshot,
  UPPER,
  VIRTUAL,
} from '../../../support/slr.js';

const packet = (flags: string, port: number, seq = 100): Packet =>
  ip(CLIENT, VIRTUAL, tcp(port, 80, flags, { seq, ack: flags === 'S' ? 0 : 9 }));
const returned = (p: Packet, member: number): Packet => tunnel(MEMBERS[member], OWN, p);
const memberOf = (p: Packet): number => MEMBERS.indexOf(p.dst as (typeof MEMBERS)[number]);

/** Two routers of one level. */
function pair(): [SlrHarness, SlrHarness] {
  const other = snapshot([0, 1], { address: parse(BESIDE)!, neighbours: neighbours(OWN) });
  return [new SlrHarness(snapshot([0, 1], { neighbours: neighbours(BESIDE) })), new SlrHarness(other)];
}

describe('news of flows', () => {
  it('let the router beside go on with a flow, whatever its own slots say', () => {
    const [a, b] = pair();
    const [first] = a.send(packet('S', 1000));
    const news = a.advance(100_000);
    expect(news.map((p) => [p.src, p.dst])).toEqual([[OWN, BESIDE]]);
    expect(b.send(...news)).toEqual([]);
    const other = snapshot([1 - memberOf(first)], { address: parse(BESIDE)!, neighbours: neighbours(OWN) });
    b.load(other);
    expect(b.send(packet('A', 1000, 101))[0].dst).toBe(first.dst);
    expect(b.counts()).toEqual({ 'drop.news-taken': 1, 'pass.routed': 1 });
  });

  it('are told in one datagram for twenty flows, and living flows again within a minute', () => {
    const [a, b] = pair();
    for (let port = 1000; port < 1030; port++) {
      a.send(packet('S', port));
      a.send(packet('A', port, 101));
    }
    expect(a.advance(100_000)).toHaveLength(2);
    expect(a.advance(100_000).length).toBeLessThanOrEqual(1);
    const again = Array.from({ length: 600 }, () => a.advance(100_000)).flat();
    expect(again.length).toBeGreaterThan(0);
    b.send(...again);
    expect(b.counts()['drop.news-taken']).toBe(again.length);
  });

  it('that come again, are changed or come from elsewhere count for nothing', () => {
    const [a, b] = pair();
    a.send(packet('S', 1000));
    const [news] = a.advance(100_000);
    b.send(news);
    b.send(news);
    const bytes = [...(news.body as ReturnType<typeof raw>).bytes];
    bytes[60] ^= 1;
    b.send({ ...news, body: raw(17, bytes) });
    b.send({ ...news, src: UPPER });
    expect(b.counts()).toMatchObject({ 'drop.news-repeated': 1, 'drop.news-forged': 1, 'drop.stranger': 1 });
  });

  it('lead a packet to where the flow goes that the kernel sent elsewhere by its slot', () => {
    const [a, b] = pair();
    const [first] = a.send(packet('S', 1000));
    b.send(...a.advance(100_000));
    const [again] = b.send(tunnel(MEMBERS[1 - memberOf(first)], BESIDE, packet('A', 1000, 101)));
    expect(again.dst).toBe(first.dst);
    // Its own member has not: another one is looked for.
    const [other] = b.send(tunnel(first.dst, BESIDE, packet('A', 1000, 101)));
    expect(other.dst).toBe(MEMBERS[1 - memberOf(first)]);
    expect(b.counts()['emit.reset']).toBeUndefined();
  });

  it('move no flow that this router chose itself', () => {
    const [a, b] = pair();
    a.load({ ...snapshot([0], { neighbours: neighbours(BESIDE) }) });
    const other = { address: parse(BESIDE)!, neighbours: neighbours(OWN) };
    b.load(snapshot([1], other));
    b.send(packet('S', 1000));
    a.send(packet('S', 1000));
    b.send(...a.advance(100_000));
    expect(b.send(packet('A', 1000, 101))[0].dst).toBe(MEMBERS[1]);
  });
});

describe('a packet that a member gives back', () => {
  it('goes to the next member, and the rest of the flow too', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('A', 1000));
    const [second] = h.send(returned(packet('A', 1000), memberOf(first)));
    expect(memberOf(second)).toBe(1 - memberOf(first));
    expect(h.send(packet('A', 1000, 200))[0].dst).toBe(second.dst);
    expect(h.counts()).toMatchObject({ 'guess.by-slot': 1, 'pass.tried-next': 1 });
  });

  it('that another one gave back already goes where the flow is tried now, and skips nobody', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('A', 1000));
    const [second] = h.send(returned(packet('A', 1000), memberOf(first)));
    const [again] = h.send(returned(packet('A', 1000, 300), memberOf(first)));
    expect(again.dst).toBe(second.dst);
  });

  it('when all have given it back goes to the router above, or its client gets a reset', () => {
    const h = new SlrHarness();
    const [first] = h.send(tunnel(UPPER, OWN, packet('A', 1000)));
    h.send(returned(packet('A', 1000), memberOf(first)));
    const [up] = h.send(returned(packet('A', 1000), 1 - memberOf(first)));
    expect([up.src, up.dst]).toEqual([OWN, UPPER]);

    const top = new SlrHarness(snapshot([0, 1], { uppers: [] }));
    const [one] = top.send(packet('A', 1000));
    top.send(returned(packet('A', 1000), memberOf(one)));
    const [reset] = top.send(returned(packet('A', 1000), 1 - memberOf(one)));
    expect([reset.src, reset.dst]).toEqual([VIRTUAL, CLIENT]);
    expect(tcpOf(reset)).toMatchObject({ flags: 'R', seq: 9, sport: 80, dport: 1000 });
  });

  it('of a connection that was chosen here ends it', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('S', 1000));
    h.send(packet('A', 1000, 101));
    const [reset] = h.send(returned(packet('A', 1000, 101), memberOf(first)));
    expect(tcpOf(reset).flags).toBe('R');
    expect(h.counts()).toMatchObject({ 'drop.no-member-has': 1, 'emit.reset': 1 });
  });

  it('beyond the number of searches is dropped, and its client is told nothing', () => {
    const h = new SlrHarness(snapshot([0, 1], { uppers: [] }), 8192);
    const give = (port: number): Packet[] => {
      const [guess] = h.send(packet('A', port));
      return h.send(returned(packet('A', port), memberOf(guess)));
    };
    let port = 10_000;
    while (give(port).length > 0 && port < 13_000) port++;
    expect(h.counts()).toMatchObject({ 'drop.search-bound': 1, 'pass.tried-next': port - 10_000 });
    expect(h.counts()['emit.reset']).toBeUndefined();
    h.advance(100_000);
    expect(give(20_000)).toHaveLength(1);
  });

  it('is nothing that anybody else may do', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('A', 1000));
    expect(h.send(tunnel('198.51.100.77', OWN, packet('A', 1000)))).toEqual([]);
    expect(h.send(packet('A', 1000))[0].dst).toBe(first.dst);
  });

  it('makes no guess known to the router above before it is sure', () => {
    const h = new SlrHarness();
    expect(h.send(tunnel(UPPER, OWN, packet('A', 1000)))).toHaveLength(1);
    h.advance(600_000);
    expect(h.send(tunnel(UPPER, OWN, packet('A', 1000))).map((p) => p.dst)).toContain(UPPER);
  });

  it('after a while is looked for all the same: it may have been on its way for long', () => {
    const h = new SlrHarness(snapshot([0, 1], { uppers: [] }));
    const [first] = h.send(packet('A', 1000));
    h.advance(600_000);
    h.send(packet('A', 1000, 200));
    const [second] = h.send(returned(packet('A', 1000), memberOf(first)));
    expect(memberOf(second)).toBe(1 - memberOf(first));
    expect(h.counts()['emit.reset']).toBeUndefined();
  });

  it('asks the router beside, whose answer leads to the right member', () => {
    const [a, b] = pair();
    const [known] = b.send(packet('S', 1000));
    b.send(packet('A', 1000, 101));
    a.load(snapshot([1 - memberOf(known)], { neighbours: neighbours(BESIDE) }));
    const [wrong] = a.send(packet('A', 1000));
    const out = a.send(returned(packet('A', 1000), memberOf(wrong)));
    const question = out.filter((p) => p.dst === BESIDE);
    const [answer] = b.send(...question);
    expect([answer.src, answer.dst]).toEqual([BESIDE, OWN]);
    a.send(answer);
    expect(a.send(packet('A', 1000))[0].dst).toBe(known.dst);
    expect(a.counts()['emit.whohas']).toBe(1);
  });
});

describe('a router beside that knows none of the flows', () => {
  /** Flows that begin here in their middle, and that a member gives back. @returns the questions about them */
  const asked = (a: SlrHarness, from: number, count: number): Packet[] =>
    Array.from({ length: count }, (_, n) => {
      const [guess] = a.send(packet('A', from + n));
      return a.send(returned(packet('A', from + n), memberOf(guess))).filter((p) => p.dst === BESIDE);
    }).flat();

  it('is asked seldom after a while, and always again once it knows one', () => {
    const [a, b] = pair();
    expect(asked(a, 2000, 64)).toHaveLength(64);
    expect(asked(a, 3000, 80)).toHaveLength(10);
    for (let port = 4000; port < 4008; port++) b.send(packet('S', port), packet('A', port, 101));
    const [question, ...others] = asked(a, 4000, 8);
    expect(others).toEqual([]);
    a.send(...b.send(question));
    expect(asked(a, 5000, 8)).toHaveLength(8);
  });
});

describe('errors', () => {
  const quoted = (p: Packet): number[] => {
    const bytes: number[] = [];
    const word = (n: number) => [(n >> 8) & 255, n & 255];
    const quad = (t: string) => t.split('.').map(Number);
    const head = (total: number, protocol: number, src: string, dst: string) => [
      ...[0x45, 0, ...word(total), 0, 0, 0x40, 0, 61, protocol, 0, 0],
      ...quad(src),
      ...quad(dst),
    ];
    const t = tcpOf(p);
    const ports = [...word(t.sport), ...word(t.dport), 0, 0, 0, 1];
    if (p.body.kind === 'ip')
      bytes.push(...head(1500, 4, p.src, p.dst), ...head(1480, 6, p.body.src, p.body.dst), ...ports);
    else bytes.push(...head(1500, 6, p.src, p.dst), ...ports);
    return bytes;
  };
  /** "Fragmentation needed" from a router on the way. */
  function tooBig(to: string, mtu: number, about: Packet): Packet {
    const bytes = [3, 4, 0, 0, 0, 0, mtu >> 8, mtu & 255, ...quoted(about)];
    let sum = 0;
    for (let n = 0; n < bytes.length; n += 2) sum += bytes[n] * 256 + (bytes[n + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    bytes[2] = (~sum >> 8) & 255;
    bytes[3] = ~sum & 255;
    return ip('192.0.2.77', to, raw(1, bytes));
  }

  it('about a tunnel are told to the client, less the bytes of the tunnel', () => {
    const h = new SlrHarness();
    const [sent] = h.send(packet('S', 1000));
    const [told] = h.send(tooBig(OWN, 1400, sent));
    expect(told.dst).toBe(CLIENT);
    const { bytes } = told.body as ReturnType<typeof raw>;
    expect(bytes.slice(0, 2)).toEqual([3, 4]);
    expect(bytes[6] * 256 + bytes[7]).toBe(1380);
    // The next packet that is too large is answered here.
    const large = ip(CLIENT, VIRTUAL, tcp(1000, 80, 'A', { seq: 101, payload: Array(1350).fill(1) }));
    expect(h.send(large).map((p) => [p.dst, p.body.kind])).toEqual([[CLIENT, 'raw']]);
    expect(h.counts()).toMatchObject({ 'pass.error-relayed': 1, 'drop.too-big': 1, 'emit.too-big': 1 });
  });

  it("about a server's packet go to that server in a tunnel, where the flow is known and where it is not", () => {
    const h = new SlrHarness();
    const about = ip(VIRTUAL, CLIENT, tcp(80, 1000, 'A'));
    const [sent] = h.send(packet('S', 1000));
    const [told] = h.send(tooBig(VIRTUAL, 1280, about));
    expect([told.src, told.dst]).toEqual([OWN, sent.dst]);
    const [guessed] = new SlrHarness().send(tooBig(VIRTUAL, 1280, about));
    expect(guessed.dst).toBe(sent.dst);
  });

  it('with a wrong checksum, or about what is not ours, change nothing', () => {
    const h = new SlrHarness();
    const [sent] = h.send(packet('S', 1000));
    const wrong = tooBig(OWN, 1400, sent);
    (wrong.body as ReturnType<typeof raw>).bytes[2] ^= 1;
    expect(h.send(wrong)).toEqual([]);
    const foreign = tooBig(OWN, 1400, tunnel(OWN, MEMBERS[0], ip(CLIENT, '192.0.2.9', tcp(1, 2, 'A'))));
    expect(h.send(foreign)).toEqual([]);
    expect(h.counts()).toMatchObject({ 'drop.error-checksum': 1, 'drop.error-short': 1 });
  });
});
