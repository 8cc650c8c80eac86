// A service-level router's stages over IPv6, packet by packet; what both families share is in pipeline.test.ts.
import { describe, expect, it } from 'vitest';
import { SlrFlows } from '../../../../origin/routing/flows.js';
import * as news from '../../../../src/routing/flow-news.js';
import * as shortcut from '../../../../src/routing/shortcut.js';
import { parse } from '../../../../src/wire/address.js';
import { keyFromBytes } from '../../../../src/wire/siphash.js';
import { ip, raw, tcp, tunnel } from '../../../support/builder.js';
import { frame, type Packet } from '../../../support/naive.js';
import {
  BELOW,
  BELOW6,
  BESIDE,
  CLIENT,
  CLIENT6,
  KEYS,
  LEVEL_KEY,
  MEMBERS,
  MEMBERS6,
  neighbours,
  OWN,
  OWN6,
  SlrHarness,
  snapshot6,
  UPPER,
  UPPER6,
  VIRTUAL,
  VIRTUAL6,
} from '../../../support/slr.js';
import {
  error6,
  frame6,
  isSound6,
  read6,
  readError6,
  tunnel6,
  udp6,
  untunnel6,
  withHops,
  withLabel,
} from '../../../support/v6.js';

const segment = (flags: string, sport: number, seq = 100): Uint8Array =>
  frame6({ ...{ src: CLIENT6, dst: VIRTUAL6, sport, dport: 80, seq, flags }, ack: flags === 'S' ? 0 : 9 });
const datagram = (sport: number): Uint8Array => udp6(CLIENT6, VIRTUAL6, sport, 53, [1, 2, 3, 4]);
const inTunnel = (inner: Uint8Array, from: string = UPPER6): Uint8Array => tunnel6(inner, from, OWN6);
/** Its hops before were 61 (`frame6`). */
const hop = (f: Uint8Array): Uint8Array => withHops(f, 60);

const memberOf = (f: Uint8Array): number => MEMBERS6.indexOf(untunnel6(f).dst as (typeof MEMBERS6)[number]);
/** Where the only packet that leaves goes. */
function sentTo(h: SlrHarness, f: Uint8Array): string {
  const [out, ...more] = h.sendFrames([f]);
  expect(more).toEqual([]);
  return untunnel6(out).dst;
}

/** The datagram with which a member tells where it sends the flow of a client's port. */
function told(member: number, port: number, target: string, sequence: number, to = VIRTUAL6): Uint8Array {
  const flows = new SlrFlows(4, [1, 2]);
  flows.key.set([...parse(to === VIRTUAL6 ? CLIENT6 : CLIENT)!, ...parse(to)!]);
  flows.setPorts(port, 80);
  const e = flows.insert();
  flows.target.set(parse(target)!, 4 * e);
  const bytes = new Uint8Array(shortcut.LENGTH);
  shortcut.write(new DataView(bytes.buffer), 0, sequence, flows, e, keyFromBytes(KEYS[member]));
  return frame(ip(MEMBERS[member], OWN, raw(17, [...udpHeader(shortcut.SHORTCUT_PORT, bytes), ...bytes])));
}
function udpHeader(port: number, payload: Uint8Array): number[] {
  const length = 8 + payload.length;
  return [port >> 8, port & 255, port >> 8, port & 255, length >> 8, length & 255, 0, 0];
}

/** What a router of the same level says about a flow: its target, or a question without one. */
function said(port: number, target: string | undefined, sequence: number): Uint8Array {
  const flows = new SlrFlows(4, [1, 2]);
  flows.key.set([...parse(CLIENT6)!, ...parse(VIRTUAL6)!]);
  flows.setPorts(port, 80);
  const e = flows.insert();
  if (target !== undefined) flows.target.set(parse(target)!, 4 * e);
  const bytes = new Uint8Array(news.lengthOf(1));
  const view = new DataView(bytes.buffer);
  news.writeHeader(view, 0, 1_700_000_000, sequence, target === undefined ? news.WHOHAS : news.NEWS);
  news.addRecord(view, 0, flows, e, target !== undefined);
  news.seal(view, 0, keyFromBytes(Uint8Array.from(LEVEL_KEY)));
  return frame(ip(BESIDE, OWN, raw(17, [...udpHeader(news.NEWS_PORT, bytes), ...bytes])));
}

describe('a router of the first level', () => {
  it('puts TCP and UDP into a tunnel of IPv6 to a member, and the rest of the flow into the same', () => {
    const h = new SlrHarness(snapshot6());
    for (let port = 1000; port < 1040; port++)
      for (const [first, later] of [
        [segment('S', port), segment('A', port, 101)],
        [datagram(port), datagram(port)],
      ]) {
        const [begun] = h.sendFrames([first]);
        expect(untunnel6(begun)).toMatchObject({ src: OWN6, inside: first });
        expect(MEMBERS6).toContain(untunnel6(begun).dst);
        const [next] = h.sendFrames([later]);
        expect(untunnel6(next)).toMatchObject({ src: OWN6, dst: untunnel6(begun).dst, inside: later });
      }
    expect(h.counts()).toEqual({ 'pass.routed': 160 });
  });

  it('spreads flows over its members, and over flow labels; a label that the client set goes outward', () => {
    const h = new SlrHarness(snapshot6());
    const all = Array.from({ length: 400 }, (_, n) => h.sendFrames([segment('S', 2000 + n)])[0]);
    const first = all.filter((f) => memberOf(f) === 0).length;
    expect(first).toBeGreaterThan(150);
    expect(first).toBeLessThan(250);
    const labels = all.map((f) => untunnel6(f).first & 0xfffff);
    expect(new Set(labels).size).toBeGreaterThan(390);
    const [again] = h.sendFrames([segment('A', 2000, 101)]);
    expect(untunnel6(again).first & 0xfffff).toBe(labels[0]);
    const [own] = h.sendFrames([withLabel(segment('A', 2000, 101), 0x12345)]);
    expect(untunnel6(own).first).toBe(0x60012345);
  });

  it('carries both families side by side', () => {
    const h = new SlrHarness(snapshot6());
    const v4: Packet = ip(CLIENT, VIRTUAL, tcp(1000, 80, 'S', { seq: 1 }));
    const [a, b] = h.sendFrames([frame(v4), segment('S', 1000)]);
    expect(MEMBERS.some((m) => Buffer.compare(frame(tunnel(OWN, m, v4)), a) === 0)).toBe(true);
    expect(untunnel6(b).inside).toEqual(segment('S', 1000));
  });

  it('gives nothing to a member without an address of IPv6, which goes on with IPv4', () => {
    const v6Only = snapshot6([0, 1], [1]);
    // As the control half says it: the member says nothing of the virtual host of IPv6.
    const tables = [...v6Only.tables, v6Only.tables[0].slice(1)];
    const hosts = v6Only.hosts.map((host, table) => ({ ...host, table }));
    const h = new SlrHarness({ ...v6Only, tables, hosts });
    for (let port = 1000; port < 1040; port++) expect(sentTo(h, segment('S', port))).toBe(MEMBERS6[1]);
    const v4 = Array.from({ length: 40 }, (_, n) =>
      h.send(ip(CLIENT, VIRTUAL, tcp(1000 + n, 80, 'S', { seq: 1 }))),
    );
    expect(new Set(v4.map(([p]) => p.dst))).toEqual(new Set(MEMBERS));
  });

  it('drops what only a member without such an address could take', () => {
    const h = new SlrHarness(snapshot6([0], []));
    expect(h.sendFrames([segment('S', 1000), segment('A', 1001)])).toEqual([]);
    expect(h.counts()).toEqual({ 'drop.no-member': 2 });
  });

  it('passes on what is for no virtual host, and what has an IPv4 address inside; drops fragments', () => {
    const h = new SlrHarness(snapshot6());
    const other = frame6({ src: CLIENT6, dst: '2001:db8:80::81' });
    const low = frame6({ src: '::ffff:10.1.0.7', dst: VIRTUAL6 });
    const part = (dst: string): Uint8Array =>
      frame6({ src: CLIENT6, dst, headers: [[44, [6, 0, 0, 9, 0, 0, 0, 1]]] });
    const passed = [other, low, part('2001:db8:80::81')];
    expect(h.sendFrames([...passed, part(VIRTUAL6)])).toEqual(passed);
    expect(h.counts()).toEqual({
      ...{ 'pass.unmatched': 1, 'pass.not-ipv4': 1, 'pass.fragment': 1, 'drop.fragment': 1 },
    });
  });

  it('finds the transport header behind extension headers', () => {
    const h = new SlrHarness(snapshot6());
    const behind = frame6({ src: CLIENT6, dst: VIRTUAL6, headers: [[60, [6, 0, 1, 4, 0, 0, 0, 0]]] });
    const [out] = h.sendFrames([behind]);
    expect(untunnel6(out).inside).toEqual(behind);
  });

  it('tells an operator where a flow goes', () => {
    const h = new SlrHarness(snapshot6());
    const to = sentTo(h, segment('S', 1000));
    const ask = (client: string, service = '[2001:db8:80::80]:80'): unknown =>
      h.ask({ client, service, protocol: 'tcp' });
    expect(ask('[2001:db8:0:1::7]:1000')).toMatchObject({
      ...{ isKnown: true, state: 'opening', rule: 'chosen by its first packet' },
      ...{ member: MEMBERS6.indexOf(to as never), target: to.replace(':0:0:0:0:', '::') },
    });
    expect(ask('[2001:db8:0:1::7]:1001')).toMatchObject({
      isKnown: false,
      target: expect.stringMatching(/^2001:db8:51::1[12]$/),
    });
    // The ends are of two families.
    expect(ask('10.1.0.7:1000')).toBeUndefined();
  });
});

describe('tunnels from routers above', () => {
  it('are opened, count as a hop, and go on in a tunnel of our own; the router above is told over IPv4', () => {
    const h = new SlrHarness(snapshot6());
    const [on, tells] = h.sendFrames([inTunnel(segment('S', 1000))]);
    expect(untunnel6(on)).toMatchObject({ src: OWN6, inside: hop(segment('S', 1000)) });
    expect(tells.subarray(10 + 12, 10 + 20)).toEqual(
      Uint8Array.from([...OWN.split('.'), ...UPPER.split('.')].map(Number)),
    );
    expect(h.counts()).toEqual({ 'pass.routed': 1, 'emit.shortcut': 1 });
  });

  it('of anybody else are dropped, and so is what may go no further, or is no TCP and no UDP', () => {
    const h = new SlrHarness(snapshot6());
    const echo = error6({ src: CLIENT6, dst: VIRTUAL6, type: 128, quotes: new Uint8Array(20) });
    const all = [
      inTunnel(segment('S', 1000), CLIENT6),
      inTunnel(withHops(segment('S', 1000), 1)),
      inTunnel(echo),
      inTunnel(inTunnel(segment('S', 1000))),
      inTunnel(new Uint8Array(20)),
    ];
    expect(h.sendFrames(all)).toEqual([]);
    expect(h.counts()).toEqual({
      ...{ 'drop.stranger': 1, 'drop.expired': 1, 'drop.tunnel-inner': 2, 'drop.malformed': 1 },
    });
  });

  it('to other addresses of this host are not ours', () => {
    const h = new SlrHarness(snapshot6());
    const other = tunnel6(segment('S', 1000), UPPER6, '2001:db8:51::2');
    expect(h.sendFrames([other])).toEqual([other]);
  });
});

describe('a shortcut', () => {
  /** A flow of the first member, and its client's port. */
  function begun(): [SlrHarness, number] {
    const h = new SlrHarness(snapshot6());
    let port = 1000;
    while (memberOf(h.sendFrames([segment('S', port)])[0]) !== 0) port++;
    return [h, port];
  }

  it('leads the rest of the flow past the member; a SYN that is repeated goes to the member', () => {
    const [h, port] = begun();
    expect(h.sendFrames([told(0, port, BELOW6, 1)])).toEqual([]);
    expect(sentTo(h, segment('S', port))).toBe(MEMBERS6[0]);
    expect(sentTo(h, segment('A', port, 101))).toBe(BELOW6);
    expect(h.counts()).toMatchObject({ 'drop.shortcut-taken': 1 });
  });

  it.each([
    ['of the other family', BELOW],
    ['that the member may not name', '2001:db8:53::7'],
  ])('to a target %s changes nothing', (_, target) => {
    const [h, port] = begun();
    h.sendFrames([told(0, port, target, 1)]);
    expect(h.counts()).toMatchObject({ 'drop.shortcut-refused': 1 });
    expect(sentTo(h, segment('A', port, 101))).toBe(MEMBERS6[0]);
  });

  it('of a flow over IPv4 to a target of IPv6 changes nothing', () => {
    const h = new SlrHarness(snapshot6());
    const syn = (port: number): Packet => ip(CLIENT, VIRTUAL, tcp(port, 80, 'S', { seq: 1 }));
    let port = 1000;
    while (h.send(syn(port))[0].dst !== MEMBERS[0]) port++;
    h.sendFrames([told(0, port, BELOW6, 1, VIRTUAL)]);
    expect(h.counts()).toMatchObject({ 'drop.shortcut-refused': 1 });
  });
});

describe('a router beside', () => {
  it('is told flows over IPv6, and asked for them', () => {
    const h = new SlrHarness(snapshot6([0, 1], [0, 1], { neighbours: neighbours(BESIDE) }));
    const to = sentTo(h, segment('S', 1000));
    const [told] = h.advance(100_000);
    const record = Uint8Array.from((told.body as { bytes: number[] }).bytes).subarray(8 + 16);
    expect([told.src, told.dst]).toEqual([OWN, BESIDE]);
    expect(new DataView(record.buffer, record.byteOffset).getInt32(40 + 12)).toBe(parse(to)![3]);
    // It answers what is asked of it.
    const [answer] = h.sendFrames([said(1000, undefined, 1)]);
    expect(answer.subarray(10 + 16, 10 + 20).join('.')).toBe(BESIDE);
  });

  it('tells where a flow goes, but not by a target of the other family', () => {
    const h = new SlrHarness(snapshot6([0, 1], [0, 1], { neighbours: neighbours(BESIDE) }));
    h.sendFrames([said(1000, BELOW6, 1), said(1001, BELOW, 2)]);
    expect(sentTo(h, segment('A', 1000, 101))).toBe(BELOW6);
    expect(MEMBERS6).toContain(sentTo(h, segment('A', 1001, 101)));
  });
});

describe('what a member gives back', () => {
  it('goes to the next one that has an address of IPv6, then to the router above', () => {
    const h = new SlrHarness(snapshot6());
    const [first] = h.sendFrames([inTunnel(segment('A', 1000))]).map((f) => untunnel6(f).dst);
    const other = MEMBERS6.find((m) => m !== first)!;
    const back = (from: string): Uint8Array => inTunnel(hop(segment('A', 1000)), from);
    expect(untunnel6(h.sendFrames([back(first)])[0])).toMatchObject({ src: OWN6, dst: other });
    expect(untunnel6(h.sendFrames([back(other)])[0])).toMatchObject({ src: OWN6, dst: UPPER6 });
    expect(h.counts()).toMatchObject({ 'pass.tried-next': 1, 'pass.given-back': 1 });
  });

  it('is not tried with a member that has none', () => {
    const only = snapshot6([0], [0]);
    const h = new SlrHarness({ ...only, uppers: [] });
    expect(sentTo(h, segment('A', 1000))).toBe(MEMBERS6[0]);
    const [again] = h.sendFrames([inTunnel(segment('A', 1000), MEMBERS6[0])]);
    expect(untunnel6(again).dst).toBe(MEMBERS6[0]);
    const [reset] = h.sendFrames([inTunnel(segment('A', 1000), MEMBERS6[0])]);
    expect(read6(reset)).toMatchObject({ src: VIRTUAL6, dst: CLIENT6, flags: 'R', seq: 9, isSound: true });
  });

  it('is refused where it was chosen by its first packet: the client gets a reset', () => {
    const h = new SlrHarness(snapshot6());
    const to = sentTo(h, segment('S', 1000));
    const [reset] = h.sendFrames([inTunnel(segment('A', 1000, 101), to)]);
    expect(read6(reset)).toMatchObject({
      ...{ src: VIRTUAL6, dst: CLIENT6, sport: 80, dport: 1000, flags: 'R', seq: 9, isSound: true },
    });
    expect(h.counts()).toMatchObject({ 'emit.reset': 1, 'drop.no-member-has': 1 });
  });
});

describe('ICMPv6 errors', () => {
  const router = '2001:db8:99::1';
  it.each([
    ['packet too big', 2, 1400, 2, 1360],
    ['packet too big, below what links carry', 2, 1290, 2, 1280],
    ['destination unreachable', 1, 0, 1, 0],
  ])('about a tunnel of ours go to the client: %s', (_, type, mtu, toldType, toldMtu) => {
    const h = new SlrHarness(snapshot6());
    for (const sent of [segment('A', 1000), datagram(1000)]) {
      const [carried] = h.sendFrames([sent]);
      const [on] = h.sendFrames([error6({ src: router, dst: OWN6, type, mtu, quotes: carried })]);
      expect(readError6(on)).toMatchObject({
        ...{ src: '2001:db8:99:0:0:0:0:1', dst: CLIENT6, type: toldType, mtu: toldMtu, isSound: true },
        quotes: { src: CLIENT6, dst: VIRTUAL6, sport: 1000 },
      });
    }
    expect(h.counts()).toMatchObject({ 'pass.error-relayed': 2 });
  });

  it("about a server's packet go to where the flow goes, whole; without a flow by its slot", () => {
    const h = new SlrHarness(snapshot6());
    const to = sentTo(h, segment('S', 1000));
    const about = (port: number): Uint8Array =>
      error6({
        ...{ src: router, dst: VIRTUAL6, type: 2, mtu: 1400 },
        quotes: frame6({ src: VIRTUAL6, dst: CLIENT6, sport: 80, dport: port, flags: 'A' }),
      });
    const [on] = h.sendFrames([about(1000)]);
    expect(untunnel6(on)).toMatchObject({ src: OWN6, dst: to, inside: hop(about(1000)) });
    const bySlot = untunnel6(h.sendFrames([about(1001)])[0]).dst;
    expect(sentTo(h, segment('S', 1001))).toBe(bySlot);
    // The next router opens the tunnel, and sends it on.
    const [below] = h.sendFrames([inTunnel(about(1000))]);
    expect(untunnel6(below)).toMatchObject({ dst: to, inside: hop(about(1000)) });
  });

  it('with a wrong checksum are dropped, and others are passed on', () => {
    const h = new SlrHarness(snapshot6());
    const [carried] = h.sendFrames([segment('S', 1000)]);
    const wrong = error6({ src: router, dst: OWN6, type: 2, mtu: 1400, quotes: carried });
    wrong[10 + 42] ^= 1;
    expect(h.sendFrames([wrong])).toEqual([]);
    const stranger = error6({ src: router, dst: OWN6, type: 2, mtu: 1400, quotes: segment('S', 1000) });
    expect(h.sendFrames([stranger])).toEqual([stranger]);
    expect(isSound6(stranger)).toBe(true);
    expect(h.counts()).toMatchObject({ 'drop.error-checksum': 1, 'pass.error-unmatched': 1 });
  });
});
