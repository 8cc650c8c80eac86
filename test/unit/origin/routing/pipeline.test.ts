// A service-level router's stages, packet by packet.
import { describe, expect, it } from 'vitest';
import { SlrFlows } from '../../../../origin/routing/flows.js';
import * as shortcut from '../../../../src/routing/shortcut.js';
import { parse } from '../../../../src/wire/address.js';
import { keyFromBytes } from '../../../../src/wire/siphash.js';
import { ip, raw, tcp, tunnel } from '../../../support/builder.js';
import type { Packet } from '../../../support/naive.js';
import {
  BELOW,
  CLIENT,
  KEYS,
  MEMBERS,
  OWN,
  SlrHarness,
  snapshot,
  UPPER,
  VIRTUAL,
} from '../../../support/slr.js';

const packet = (flags: string, port: number, seq = 100): Packet =>
  ip(CLIENT, VIRTUAL, tcp(port, 80, flags, { seq, ack: flags === 'S' ? 0 : 9 }));
const datagram = (port: number): Packet => {
  const bytes = [port >> 8, port & 255, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
  return ip(CLIENT, VIRTUAL, raw(17, bytes));
};
const inTunnel = (inner: Packet, from = UPPER): Packet => tunnel(from, OWN, inner);
const hop = (p: Packet): Packet => ({ ...p, ttl: p.ttl - 1 });

/** The datagram with which a member tells where it sends the flow of a client's port. */
function told(member: number, port: number, target: string, sequence: number, spoil = 0): Packet {
  const flows = new SlrFlows(4, [1, 2]);
  flows.keyV4(word(CLIENT), port, word(VIRTUAL), 80);
  const e = flows.insert();
  const to = parse(target)!;
  for (let w = 0; w < 4; w++) flows.target[4 * e + w] = to[w];
  const bytes = new Uint8Array(shortcut.LENGTH);
  shortcut.write(new DataView(bytes.buffer), 0, sequence, flows, e, keyFromBytes(KEYS[member]));
  bytes[70] ^= spoil;
  const length = 8 + shortcut.LENGTH;
  const ports = [shortcut.SHORTCUT_PORT >> 8, shortcut.SHORTCUT_PORT & 255];
  return ip(MEMBERS[member], OWN, raw(17, [...ports, ...ports, length >> 8, length & 255, 0, 0, ...bytes]));
}
const word = (text: string): number => parse(text)![3];
const memberOf = (p: Packet): number => MEMBERS.indexOf(p.dst as (typeof MEMBERS)[number]);

describe('a router of the first level', () => {
  it('puts what comes for a virtual host into a tunnel to a member, and the rest of the flow into the same', () => {
    const h = new SlrHarness();
    for (let port = 1000; port < 1040; port++) {
      const [first] = h.send(packet('S', port));
      expect(first).toEqual(tunnel(OWN, first.dst, packet('S', port)));
      expect(MEMBERS).toContain(first.dst);
      expect(h.send(packet('A', port, 101))).toEqual([tunnel(OWN, first.dst, packet('A', port, 101))]);
    }
    expect(h.counts()).toEqual({ 'pass.routed': 80 });
  });

  it('spreads flows over its members by their weights', () => {
    const h = new SlrHarness();
    const to = Array.from({ length: 400 }, (_, n) => memberOf(h.send(packet('S', 2000 + n))[0]));
    const first = to.filter((m) => m === 0).length;
    expect(first).toBeGreaterThan(150);
    expect(first).toBeLessThan(250);
  });

  it('makes one flow of two first packets in one batch, beside others', () => {
    const h = new SlrHarness();
    const out = h.send(datagram(1000), datagram(1001), datagram(1000), datagram(1001));
    expect(out[0].dst).toBe(out[2].dst);
    expect(out[1].dst).toBe(out[3].dst);
    // The members have changed since; the flows have not.
    h.load(snapshot([1 - memberOf(out[0])]));
    expect(h.send(datagram(1000))[0].dst).toBe(out[0].dst);
  });

  it('sends the middle of a flow that it does not know where its first packet would go', () => {
    const [a, b] = [new SlrHarness(), new SlrHarness()];
    for (let port = 1000; port < 1050; port++)
      expect(b.send(packet('A', port))[0].dst).toBe(a.send(packet('S', port))[0].dst);
    expect(b.counts()).toMatchObject({ 'guess.by-slot': 50 });
  });

  it('gives nothing new to a member that is not usable, and goes on with its flows', () => {
    const h = new SlrHarness();
    const ports = Array.from({ length: 50 }, (_, n) => 1000 + n);
    const before = new Map(ports.map((p) => [p, h.send(packet('S', p))[0].dst]));
    for (const p of ports) h.send(packet('A', p, 101));
    h.load(snapshot([1]));
    for (const p of ports) expect(h.send(packet('A', p, 101))[0].dst).toBe(before.get(p));
    for (const p of ports) expect(h.send(packet('S', p + 500))[0].dst).toBe(MEMBERS[1]);
  });

  it('drops what no member can take', () => {
    const h = new SlrHarness(snapshot([]));
    expect(h.send(packet('S', 1000))).toEqual([]);
    expect(h.counts()).toEqual({ 'drop.no-member': 1 });
  });

  it('lets no SYN move a flow that its client has confirmed, and one that has ended begin anew', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('S', 1000));
    h.send(packet('A', 1000, 101));
    h.load(snapshot([1 - memberOf(first)], {}));
    h.load({ ...snapshot([1 - memberOf(first)]), members: snapshot().members });
    expect(h.send(packet('S', 1000, 77_000))[0].dst).toBe(first.dst);
    h.send(packet('FA', 1000, 101));
    expect(h.send(packet('S', 1000, 78_000))[0].dst).not.toBe(first.dst);
  });

  it('lets a repeated SYN go where the first one went', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('S', 1000));
    h.load({ ...snapshot([1 - memberOf(first)]), members: snapshot().members });
    expect(h.send(packet('S', 1000))[0].dst).toBe(first.dst);
  });

  it('moves a SYN whose member gets no new connections any more', () => {
    const h = new SlrHarness();
    const [first] = h.send(packet('S', 1000));
    h.load(snapshot([1 - memberOf(first)]));
    expect(h.send(packet('S', 1000))[0].dst).not.toBe(first.dst);
  });

  it('passes on what is for no virtual host', () => {
    const h = new SlrHarness();
    const other = ip(CLIENT, '203.0.113.81', tcp(1000, 80, 'S'));
    expect(h.send(other)).toEqual([other]);
    expect(h.counts()).toEqual({ 'pass.unmatched': 1 });
  });

  it('goes by ports and protocols where a virtual host names them', () => {
    const [host] = snapshot().hosts;
    const h = new SlrHarness(snapshot([0, 1], { hosts: [{ ...host, protocols: [6], ports: [80] }] }));
    expect(h.send(packet('S', 1000))).toHaveLength(1);
    expect(h.send(datagram(1000))).toEqual([datagram(1000)]);
    expect(h.counts()).toEqual({ 'pass.routed': 1, 'pass.unmatched': 1 });
  });

  it('does without an entry where the table has room for none', () => {
    const h = new SlrHarness(snapshot(), 4);
    for (let port = 1000; port < 1004; port++) {
      h.send(packet('S', port));
      h.send(packet('A', port, 101));
    }
    const [out] = h.send(packet('S', 2000));
    expect(out.dst).toBe(new SlrHarness().send(packet('S', 2000))[0].dst);
    expect(h.counts()).toMatchObject({ 'pass.table-full': 1 });
  });

  it('takes the source of each flow from a prefix', () => {
    const source = { ...snapshot().source, address: parse('198.51.100.64')!, bits: 124 };
    const h = new SlrHarness(snapshot([0, 1], { source }));
    const sources = new Set(Array.from({ length: 200 }, (_, n) => h.send(packet('S', 1000 + n))[0].src));
    expect(sources.size).toBe(16);
    expect([...sources].every((s) => /^198\.51\.100\.(6[4-9]|7\d)$/.test(s))).toBe(true);
    const [again] = h.send(packet('A', 1000, 101));
    expect(again.src).toBe(h.send(packet('A', 1000, 101))[0].src);
  });
});

describe('tunnels from routers above', () => {
  it('are opened, count as a hop, and go on in a tunnel of our own; the router above is told where', () => {
    const h = new SlrHarness();
    const [on, tells] = h.send(inTunnel(packet('S', 1000)));
    expect(on).toEqual(tunnel(OWN, on.dst, hop(packet('S', 1000))));
    expect([tells.src, tells.dst]).toEqual([OWN, UPPER]);
    expect(h.counts()).toEqual({ 'pass.routed': 1, 'emit.shortcut': 1 });
  });

  it('are told again while packets of the flow still come, ten times a second at most', () => {
    const h = new SlrHarness();
    h.send(inTunnel(packet('S', 1000)));
    for (let n = 0; n < 5; n++) h.send(inTunnel(packet('A', 1000, 101)));
    expect(h.counts()['emit.shortcut']).toBe(1);
    h.advance(100_000);
    for (let n = 0; n < 5; n++) h.send(inTunnel(packet('A', 1000, 101)));
    expect(h.counts()['emit.shortcut']).toBe(2);
  });

  it('of anybody else are dropped', () => {
    const h = new SlrHarness();
    expect(h.send(inTunnel(packet('S', 1000), '198.51.100.10'))).toEqual([]);
    expect(h.counts()).toEqual({ 'drop.stranger': 1 });
  });

  it('with something else inside are dropped, and so is an inner packet that may go no further', () => {
    const h = new SlrHarness();
    expect(h.send(inTunnel(ip(CLIENT, VIRTUAL, raw(1, [8, 0, 0, 0, 0, 0, 0, 0]))))).toEqual([]);
    expect(h.send(inTunnel({ ...packet('S', 1000), ttl: 1 }))).toEqual([]);
    expect(h.counts()).toMatchObject({ 'drop.tunnel-inner': 1, 'drop.expired': 1 });
  });
});

describe('a shortcut', () => {
  /** A flow of the first member, and its client's port. */
  function begun(): [SlrHarness, number] {
    const h = new SlrHarness();
    let port = 1000;
    while (memberOf(h.send(packet('S', port))[0]) !== 0) port++;
    return [h, port];
  }

  it("of the flow's member leads the rest of the flow past it", () => {
    const [h, port] = begun();
    expect(h.send(told(0, port, BELOW, 1))).toEqual([]);
    expect(h.send(packet('A', port, 101))[0].dst).toBe(BELOW);
    expect(h.counts()).toMatchObject({ 'drop.shortcut-taken': 1 });
  });

  it('is not taken by a SYN that is repeated: its server may have died, and the member chooses another', () => {
    const [h, port] = begun();
    h.send(told(0, port, BELOW, 1));
    expect(h.send(packet('S', port))[0].dst).toBe(MEMBERS[0]);
    h.send(told(0, port, MEMBERS[0], 2));
    expect(h.send(packet('A', port, 101))[0].dst).toBe(MEMBERS[0]);
    // Once the client has confirmed the connection, a SYN moves nothing.
    h.send(told(0, port, BELOW, 3));
    expect(h.send(packet('S', port))[0].dst).toBe(BELOW);
  });

  it('is passed on to the router above in the name of this one', () => {
    const h = new SlrHarness();
    let port = 1000;
    while (memberOf(h.send(inTunnel(packet('S', port)))[0]) !== 0) port++;
    const [on] = h.send(told(0, port, BELOW, 1));
    expect([on.src, on.dst]).toEqual([OWN, UPPER]);
  });

  it.each([
    ['with a wrong MAC', (port: number) => told(0, port, BELOW, 1, 1), 'drop.shortcut-forged'],
    ['of another member', (port: number) => told(1, port, MEMBERS[1], 1), 'drop.shortcut-no-flow'],
    [
      'to where the member may not lead',
      (port: number) => told(0, port, '198.51.102.7', 1),
      'drop.shortcut-refused',
    ],
    ['of an unknown flow', (port: number) => told(0, port + 5000, BELOW, 1), 'drop.shortcut-no-flow'],
    ['from a stranger', (port: number) => ({ ...told(0, port, BELOW, 1), src: UPPER }), 'drop.stranger'],
  ])('%s changes nothing', (_, made, reason) => {
    const [h, port] = begun();
    h.send(made(port));
    expect(h.counts()[reason]).toBe(1);
    expect(h.send(packet('A', port, 101))[0].dst).toBe(MEMBERS[0]);
  });

  it('that comes again changes nothing', () => {
    const [h, port] = begun();
    h.send(told(0, port, BELOW, 7));
    h.send(told(0, port, MEMBERS[0], 8));
    h.send(told(0, port, BELOW, 7));
    expect(h.counts()['drop.shortcut-repeated']).toBe(1);
    expect(h.send(packet('A', port, 101))[0].dst).toBe(MEMBERS[0]);
  });

  it('ends with the connection', () => {
    const [h, port] = begun();
    h.send(told(0, port, BELOW, 1));
    h.send(packet('FA', port, 101));
    expect(MEMBERS).toContain(h.send(packet('S', port, 900))[0].dst);
  });
});
