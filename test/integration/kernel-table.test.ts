// The packet table of test/contract for the hooks in the kernel, through BPF_PROG_TEST_RUN. The hooks must carry
// packets as the TUN's pipeline would, except that a packet past the stack has its TTL decremented by the hook.
// Packets that they leave must be unchanged, and the pipeline then does with them what the table says.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mix, racesAgain } from '../../gateway/race/send-syn.js';
import { MonotonicClock } from '../../src/device/clock.js';
import { type OpeningHandles, Openings } from '../../src/race/openings.js';
import { parse } from '../../src/wire/address.js';
import { PACKETS } from '../contract/packets.js';
import { CONFIGURATIONS, type Given, type Row } from '../contract/row.js';
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  ip as ip4,
  R1,
  raw,
  SERVICE,
  SERVICE_PORT,
  syn,
  tunnel,
  withTcp,
} from '../support/builder.js';
import { Harness } from '../support/harness.js';
import { frame, type Packet, parseFrame } from '../support/naive.js';
import { bed, gateway, ip, kernelOf, settings, stayAwake } from './kernel-bed.js';
import { hex, type Kernel, LEFT, REDIRECT } from './kernel-hooks.js';

bed('table');

const frameOf = (p: Given): Uint8Array => (p instanceof Uint8Array ? p : frame(p));
/**
 * The packets that a test run and the hooks' filters accept: IPv4. A packet with an open checksum, or a super-packet,
 * cannot be on the wire; transfers in other tests cover those.
 */
const isForKernel = (f: Uint8Array): boolean =>
  f.length >= 30 && f[10] >> 4 === 4 && f.subarray(0, 10).every((b) => b === 0);

/** The hooks that this packet passes, by its source. */
function programFor(r: Row, f: Uint8Array): { program: string; from: string } {
  const source = [...f.subarray(22, 26)].join('.');
  if (r.role === 'gateway')
    return source.startsWith('10.')
      ? { program: 'gateway_lan_l2', from: 'lan0' }
      : { program: 'gateway_wan_l2', from: 'wan0' };
  const local = source === '203.0.113.10' || source === '198.51.100.11';
  return { program: local ? 'replica_out_l2' : 'replica_in_l2', from: 'wan0' };
}

/** Offsets of a packet's IP headers. */
function headers(packet: Uint8Array): number[] {
  return packet[9] === 4 ? [0, (packet[0] & 15) * 4] : [0];
}

/**
 * The packet without the fields that a hop changes: TTLs, IP checksums, and the outer id of a packet that may be
 * fragmented.
 */
function unhopped(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  for (const at of headers(packet)) {
    copy[at + 8] = 0;
    copy.fill(0, at + 10, at + 12);
    if (at === 0 && packet[9] === 4 && (packet[6] & 0x40) === 0) copy.fill(0, 4, 6);
  }
  return copy;
}

const spoilt = (p: Given): boolean =>
  p instanceof Uint8Array ||
  (p.body.kind === 'ip' ? spoilt(p.body) : p.body.kind === 'tcp' && p.body.spoil !== 0);

/** The pipeline's reasons with which the kernel should have carried the packet. */
const CARRIED = new Set([
  'pass.to-replica',
  'pass.from-replica',
  'pass.to-origin',
  'pass.from-origin',
  'pass.delivered',
  'pass.opened',
  'pass.answer-tunnelled',
]);
let carried = 0;

function run(kernel: Kernel, r: Row): number {
  const h = new Harness(r.role, { configuration: r.configuration, ...r.world }, kernel.path.handles(0));
  for (const batch of r.given ?? []) {
    h.send(batch.map(frameOf));
    if (r.everyMs === undefined) continue;
    h.advance(r.everyMs * 1000);
    h.tick();
  }
  if (r.change !== undefined) h.change(r.change);
  if (r.afterMs !== undefined) h.advance(r.afterMs * 1000);
  for (let i = 0; i < 50; i++) h.tick();
  h.clearCounts();
  // The hooks leave packets to the TUN for their size only while its reader is awake.
  stayAwake(kernel.path.descriptor('awake'), 'emit.too-big' in r.counts);

  let byKernel = 0;
  const out: { bytes: Uint8Array; hop: boolean }[] = [];
  // Packets that the hooks leave go to the pipeline as one batch, up to the next packet that the kernel carries.
  let left: Uint8Array[] = [];
  const pipeline = (): void => {
    out.push(...h.send(left).map((o) => ({ bytes: o.subarray(10), hop: false })));
    left = [];
  };
  for (const given of r.in) {
    const f = frameOf(given);
    const { program, from } = programFor(r, f);
    const made = isForKernel(f) ? kernel.run(program, from, f.subarray(10)) : undefined;
    if (made === undefined) {
      left.push(f);
      continue;
    }
    pipeline();
    byKernel++;
    out.push({ bytes: made, hop: true });
    const padded = Uint8Array.from([...new Array<number>(10).fill(0), ...made]);
    if (!spoilt(given)) expect(parseFrame(padded)?.valid, hex(made)).toBe(true);
  }
  pipeline();
  expect(out.map((o) => hex(unhopped(o.bytes)))).toEqual(
    r.out.map((p) => hex(unhopped(frameOf(p).subarray(10)))),
  );
  // A gateway's packet that bypassed the stack has made one hop, which is counted in its own header, not in a
  // tunnel's outer one.
  out.forEach(({ bytes, hop }, i) => {
    if (!hop) return;
    const wanted = frameOf(r.out[i]).subarray(10);
    const at = headers(bytes);
    const inner = at[at.length - 1];
    expect(bytes[inner + 8]).toBe(wanted[inner + 8] - (r.role === 'gateway' ? 1 : 0));
    if (inner > 0) expect(bytes[8]).toBe(wanted[8]);
  });
  return byKernel;
}

describe.each(['gateway', 'replica'] as const)('%s', (role) => {
  describe.each(CONFIGURATIONS)('configuration %s', (configuration) => {
    let kernel: Kernel;
    beforeAll(async () => {
      const instance = `table-${role}-${configuration.toLowerCase()}`;
      kernel = kernelOf(instance);
      await kernel.path.load();
    });
    afterAll(() => kernel.close());

    const rows = PACKETS.filter((x) => x.role === role && x.configuration === configuration);
    it.each(rows.map((r) => [r.name, r] as const))('%s', (_, r) => {
      kernel.clear();
      const byKernel = run(kernel, r);
      carried += byKernel;
      // A plain packet of a decided flow must be carried by the kernel.
      const plain = r.in.every(
        (p) =>
          !(p instanceof Uint8Array) &&
          p.open === undefined &&
          p.ipOptions.length === 0 &&
          p.body.kind === 'tcp' &&
          !p.body.flags.includes('S'),
      );
      const kept = Object.keys(r.counts).every((name) => CARRIED.has(name));
      if (role === 'gateway' && plain && kept) expect(byKernel).toBe(r.in.length);
    });
  });
});

describe('the next hop', () => {
  it('follows all rules of the host, even if the main table alone is queried in between', async () => {
    const instance = 'table-way';
    const kernel = kernelOf(instance);
    await kernel.path.load();
    const row = PACKETS.find(
      (r) => r.role === 'gateway' && r.configuration === 'A' && r.name.startsWith("the client's ACK"),
    )!;
    const packet = frameOf(row.in[0]).subarray(10);
    const h = new Harness(row.role, { configuration: 'A', ...row.world }, kernel.path.handles(0));
    for (const batch of row.given!) h.send(batch.map(frameOf));
    // Some packets in each tick of the flow's clock, over several ticks.
    const nextHops = (): Set<number> => {
      const met = new Set<number>();
      for (const until = performance.now() + 20; performance.now() < until; ) {
        expect(kernel.run('gateway_lan_l2', 'lan0', packet)).toBeDefined();
        met.add(kernel.nextHop);
      }
      return met;
    };
    const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
    const replica = ['to', R1.address, 'lookup', '77', 'pref', '77'];
    expect([...nextHops()]).toEqual([2]);
    ip('route', 'add', 'default', 'via', '10.0.0.2', 'table', '77');
    ip('rule', 'add', ...replica);
    await settled();
    expect([...nextHops()]).toEqual([1]);
    ip('rule', 'del', ...replica);
    await settled();
    expect([...nextHops()]).toEqual([2]);

    // A cached route of a small packet must not be used for a packet that exceeds its MTU.
    const small = row.in[0] as Exclude<Given, Uint8Array>;
    const tcp = small.body as Extract<typeof small.body, { kind: 'tcp' }>;
    const withPayload = (bytes: number): Uint8Array =>
      frame({ ...small, body: { ...tcp, payload: Array(bytes).fill(0) } }).subarray(10);
    const [fits, doesNot] = [1500, 1501].map((length) => withPayload(length - packet.length));
    for (const until = performance.now() + 20; performance.now() < until; ) {
      expect(kernel.run('gateway_lan_l2', 'lan0', packet)).toBeDefined();
      expect(kernel.run('gateway_lan_l2', 'lan0', fits)).toBeDefined();
      expect(kernel.run('gateway_lan_l2', 'lan0', doesNot)).toBeUndefined();
    }
    await kernel.close();
  });
});

describe('packets that bypass the stack', () => {
  const bytes = (p: Packet): Uint8Array => frame(p).subarray(10);

  it('packets that open a connection go to the TUN, unchanged, as long as it exists', async () => {
    const kernel = await gateway('table-tun');
    const verdictOf = (program: string, from: string, p: Packet): number => {
      expect(kernel.run(program, from, bytes(p))).toBeUndefined();
      return kernel.verdict;
    };
    const out = (p: Packet): number => verdictOf('gateway_lan_l2', 'lan0', p);
    const back = (p: Packet): number => verdictOf('gateway_wan_l2', 'wan0', p);
    const opening = syn();
    const answer = asReplica(R1, asService('SA'));
    expect(out(opening)).toBe(REDIRECT);
    expect(back(answer)).toBe(REDIRECT);
    // Not redirected: no client, no service, no SYN, an expiring TTL.
    expect(out({ ...opening, src: '11.0.0.1' })).toBe(LEFT);
    expect(back({ ...answer, dst: '11.0.0.1' })).toBe(LEFT);
    expect(out({ ...opening, dst: R1.address })).toBe(LEFT);
    expect(out(withTcp(opening, { dport: SERVICE_PORT + 1 }))).toBe(LEFT);
    expect(out(withTcp(opening, { flags: 'A' }))).toBe(LEFT);
    expect(back(withTcp(answer, { sport: R1.port + 1 }))).toBe(LEFT);
    expect(out({ ...opening, ttl: 1 })).toBe(LEFT);
    // Where the stack forwards, it also takes packets to the TUN.
    await kernel.path.configure({ ...settings, stack: true });
    expect([out(opening), back(answer)]).toEqual([LEFT, LEFT]);
    await kernel.path.configure(settings);
    expect([out(opening), back(answer)]).toEqual([REDIRECT, REDIRECT]);
    expect(kernel.path.totals()['to.tun']).toBe(4);
    // The role has ended, and its TUN with it.
    ip('link', 'delete', 'tun0');
    expect([out(opening), back(answer)]).toEqual([LEFT, LEFT]);
    await kernel.close();
  });

  it('a flow that was adopted, and that a SYN made the hook forget before its TUN was read, is forgotten', async () => {
    const kernel = await gateway('table-adopted');
    const first = new Harness('gateway', { configuration: 'A', race: 1 }, kernel.path.handles(0));
    first.send([frame(syn())]);
    first.send([frame(asReplica(R1, asService('SA')))]);
    for (const flags of ['A', 'RA']) kernel.run('gateway_lan_l2', 'lan0', bytes(fromClient(flags)));
    const next = new Harness('gateway', { configuration: 'A', race: 1 }, kernel.path.handles(0));
    next.tick();
    next.send([frame(fromClient('A'))]);
    expect(next.counts()).toEqual({ 'pass.to-replica': 1 });
    stayAwake(kernel.path.descriptor('awake'), false);
    kernel.run('gateway_lan_l2', 'lan0', bytes(syn()));
    next.clearCounts();
    // The origin's answer, and the client's: of a connection that passed by.
    next.send([frame(asService('PA'))]);
    next.send([frame(fromClient('A'))]);
    expect(next.counts()).toEqual({ 'pass.no-flow': 2 });
    ip('link', 'delete', 'tun0');
    await kernel.close();
  });

  // Killed, its process takes the TUN along, and is regarded as awake for another second; stuck, it leaves the TUN.
  describe.each(['is not read', 'is gone'])('while the TUN %s', (why) => {
    it.each([
      ['that has ended', ['A', 'RA'], LEFT],
      ['that its client has not confirmed', [], LEFT],
      ['that its client has confirmed', ['A'], REDIRECT],
    ] as const)(
      'of a tuple with a flow %s, a SYN goes to the origin, and what follows where it must',
      async (_, before, then) => {
        const kernel = await gateway('table-late');
        const h = new Harness('gateway', { configuration: 'A', race: 1 }, kernel.path.handles(0));
        h.send([frame(syn())]);
        h.send([frame(asReplica(R1, asService('SA')))]);
        const run = (hook: string, at: string, p: Packet): number => {
          kernel.run(hook, at, bytes(p));
          return kernel.verdict;
        };
        for (const flags of before) expect(run('gateway_lan_l2', 'lan0', fromClient(flags))).toBe(REDIRECT);
        if (why === 'is gone') ip('link', 'delete', 'tun0');
        else stayAwake(kernel.path.descriptor('awake'), false);
        expect(run('gateway_lan_l2', 'lan0', syn())).toBe(LEFT);
        expect(run('gateway_wan_l2', 'wan0', asService('SA'))).toBe(LEFT);
        expect(run('gateway_lan_l2', 'lan0', fromClient('A'))).toBe(then);
        expect(kernel.path.totals()['left.late']).toBe(then === LEFT ? 3 : 1);
        if (why !== 'is gone') ip('link', 'delete', 'tun0');
        await kernel.close();
      },
    );
  });

  it('packets from the TUN go to their next hop with the TTL decremented; other packets are left', async () => {
    const kernel = await gateway('table-out');
    const given = (p: Packet): Uint8Array | undefined => kernel.run('gateway_tun_l2', 'lan0', bytes(p));
    const ack = fromClient('A', {}, { ttl: 9 });
    const translated: Packet = { ...ack, dst: R1.address };
    expect(hex(given(translated)!)).toBe(hex(bytes({ ...translated, ttl: 8 })));
    expect(kernel.nextHop).toBe(2);
    const reply: Packet = { ...ack, src: SERVICE, dst: CLIENT };
    expect(hex(given(reply)!)).toBe(hex(bytes({ ...reply, ttl: 8 })));
    expect(kernel.nextHop).toBe(1);
    const inTunnel = tunnel(CLIENT, R1.address, ack);
    expect(hex(given(inTunnel)!)).toBe(hex(bytes({ ...inTunnel, ttl: inTunnel.ttl - 1 })));
    expect(kernel.path.totals()['from.tun']).toBe(3);
    expect(given({ ...translated, ttl: 1 })).toBeUndefined();
    expect(given({ ...translated, dst: '10.0.0.1' })).toBeUndefined();
    expect(given(ip4(CLIENT, R1.address, raw(17, [1, 2, 3, 4, 5, 6, 7, 8])))).toBeUndefined();
    expect(kernel.verdict).toBe(LEFT);
    await kernel.path.configure({ ...settings, stack: true });
    expect(given(translated)).toBeUndefined();
    expect(kernel.verdict).toBe(LEFT);
    ip('link', 'delete', 'tun0');
    await kernel.close();
  });
});

describe('the lot for races again', () => {
  it('gives the same result in the kernel and in TypeScript for every connection', async () => {
    const kernel = await gateway('table-lot', 8192);
    const fds = kernel.path.handles(0);
    const openings = new Openings(fds as unknown as OpeningHandles);
    const word = (text: string): number => parse(text)![3];
    let again = 0;
    for (let n = 0; n < 3000; n++) {
      const seq = Math.imul(n + 1, 0x9e3779b1) >>> 0;
      // The lease must not expire meanwhile; slots are freed as they are read.
      const now = new MonotonicClock().nowUs;
      openings.lease(word(CLIENT) & -256, parse(SERVICE)!, SERVICE_PORT, word(R1.address), R1.port, 1, now);
      const made = kernel.run('gateway_lan_l2', 'lan0', frameOf(syn({ seq, sport: 1024 + n })).subarray(10));
      const wanted = racesAgain(mix(seq | 0));
      expect(made === undefined, `seq ${seq}`).toBe(wanted);
      if (wanted) again++;
      while (openings.next() >= 0) openings.finish(openings.read);
    }
    expect(again).toBeGreaterThan(30);
    expect(again).toBeLessThan(90);
    ip('link', 'delete', 'tun0');
    await kernel.close();
  });
});

describe('leases', () => {
  it('of more prefixes than there were are kept, and all of them end at once', async () => {
    const kernel = await gateway('table-leases', 8192);
    const openings = new Openings(kernel.path.handles(0) as unknown as OpeningHandles);
    const word = (text: string): number => parse(text)![3];
    const lease = (client: string): void =>
      openings.lease(
        ...([word(client) & -256, parse(SERVICE)!, SERVICE_PORT, word(R1.address), R1.port, 1] as const),
        new MonotonicClock().nowUs,
      );
    let sport = 1024;
    /** Whether the kernel sends a client's SYN by itself; not one that is raced again by lot. */
    const opens = (client: string): boolean => {
      let seq = 1;
      while (racesAgain(mix(seq | 0))) seq++;
      const f = frameOf(syn({ seq, sport: sport++ }, { src: client })).subarray(10);
      return kernel.run('gateway_lan_l2', 'lan0', f) !== undefined;
    };
    const client = (n: number): string => `10.${n >> 8}.${n & 255}.7`;
    for (let n = 0; n < 20_000; n++) lease(client(n));
    // A lease is valid for a second, and writing so many takes a part of it.
    for (const n of [19_999, 19_000]) expect(opens(client(n)), client(n)).toBe(true);
    expect(opens('172.16.0.1')).toBe(false);
    openings.endAll(new MonotonicClock().nowUs);
    for (const n of [19_999, 19_000]) expect(opens(client(n)), client(n)).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 2));
    lease(client(19_000));
    expect([opens(client(19_000)), opens(client(19_999))]).toEqual([true, false]);
    openings.end(word(client(19_000)) & -256, parse(SERVICE)!, SERVICE_PORT);
    expect(opens(client(19_000))).toBe(false);
    ip('link', 'delete', 'tun0');
    await kernel.close();
  });
});

describe('the table', () => {
  it('was carried by the kernel where that is possible', () => {
    expect(carried).toBeGreaterThanOrEqual(60);
  });
});
