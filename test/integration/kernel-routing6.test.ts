// The hooks of service-level routing for IPv6, run by BPF_PROG_TEST_RUN on packets of flows that the pipeline pinned: what they make
// of a packet is what TypeScript makes of it.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SlrSnapshot } from '../../origin/routing/snapshot.js';
import { createPipeline, type ServerSnapshot } from '../../replica/routing/pipeline.js';
import { ManualClock } from '../../src/device/clock.js';
import { HoldQueue } from '../../src/device/hold-queue.js';
import { bpf } from '../../src/fastpath/native.js';
import { Batch } from '../../src/pipeline/batch.js';
import { MAX_REASONS } from '../../src/pipeline/reasons.js';
import { hookSet } from '../../src/routing/kernel-layout.js';
import { prefixOf } from '../../src/routing/virtual.js';
import { parse } from '../../src/wire/address.js';
import { CLIENT6, MEMBERS6, OWN6, SlrHarness, snapshot6, UPPER6, VIRTUAL6 } from '../support/slr.js';
import { frame6, tunnel6, udp6, untunnel6, withHops, withLabel } from '../support/v6.js';
import { bed, ip, kernelOf, settings, stayAwake } from './kernel-bed.js';
import { type Kernel, LEFT, REDIRECT, SHOT } from './kernel-hooks.js';

bed('slr6');

const VIRTIO = 10;
const segment = (flags: string, sport = 40_000, seq = 100): Uint8Array =>
  frame6({ ...{ src: CLIENT6, dst: VIRTUAL6, sport, dport: 80, seq, flags }, ack: flags === 'S' ? 0 : 9 });
const datagram = (sport = 40_000): Uint8Array => udp6(CLIENT6, VIRTUAL6, sport, 53, [1, 2, 3, 4]);
/** A frame's packet after one hop, which the hook counts, and before the TUN the stack. */
const hop = (f: Uint8Array): Uint8Array => withHops(f, f[VIRTIO + 7] - 1);
/** A frame with another traffic class. */
const withEcn = (f: Uint8Array, ecn: number): Uint8Array => {
  const out = f.slice();
  out[VIRTIO + 1] = (out[VIRTIO + 1] & 0xcf) | (ecn << 4);
  return out;
};

/** The first word of a frame's outer header, in which the hook sets a flow label. */
const firstOf = (f: Uint8Array): number => untunnel6(f).first;

let kernel: Kernel;
beforeEach(async () => {
  ip('tuntap', 'add', 'tun0', 'mode', 'tun');
  ip('link', 'set', 'tun0', 'up');
  kernel = kernelOf('slr6', 1024, hookSet(1024));
  await kernel.path.load();
  await kernel.path.configure(settings);
});
afterEach(async () => {
  await kernel.close();
  ip('tuntap', 'del', 'tun0', 'mode', 'tun');
});

/** The frame that a hook makes of a frame; undefined where it leaves it, or drops it. */
function carried(f: Uint8Array, hook = 'slr_in6_l2'): Uint8Array | undefined {
  const out = kernel.run(hook, 'lan0', f.subarray(VIRTIO));
  return out === undefined ? undefined : Uint8Array.from([...new Array<number>(VIRTIO).fill(0), ...out]);
}
const isLeft = (f: Uint8Array, hook?: string): boolean =>
  carried(f, hook) === undefined && kernel.verdict === LEFT;

/** A router whose hooks take its TUN's reader for awake. */
function router(first: SlrSnapshot = snapshot6()): SlrHarness {
  const h = new SlrHarness(first, 1024, kernel.path.handles(0));
  stayAwake(kernel.path.descriptor('awake'));
  return h;
}

/** For the next second TypeScript has had its share of packets without a flow. */
function fillWindow(): void {
  const value = new DataView(new ArrayBuffer(16));
  value.setBigUint64(0, process.hrtime.bigint() + 1_000_000_000n, true);
  value.setUint32(8, 2 ** 31, true);
  bpf.update(kernel.path.descriptor('window'), new Uint8Array(4), 4, new Uint8Array(value.buffer), 16, 1);
}
const over = (f: Uint8Array): string => {
  fillWindow();
  const out = carried(f);
  return out === undefined ? '' : untunnel6(out).dst;
};

describe('packets of a flow that is pinned', () => {
  it.each([
    ['TCP', segment('S'), segment('A', 40_000, 101)],
    ['TCP with a flow label', segment('S'), withLabel(segment('A', 40_000, 101), 0x54321)],
    ['TCP with a congestion mark', segment('S'), withEcn(segment('A', 40_000, 101), 3)],
    ['UDP', datagram(), datagram()],
  ])('%s go into the tunnel that TypeScript would write', (_, first, later) => {
    const h = router();
    h.sendFrames([first]);
    const [expected] = h.sendFrames([hop(later)]);
    expect(carried(later)).toEqual(expected);
    expect(kernel.verdict).toBe(REDIRECT);
    expect(kernel.path.totals()).toMatchObject({ 'out.packets': 1 });
  });

  it('that come in a tunnel of a router above go on in another one', () => {
    const h = router();
    h.sendFrames([segment('S')]);
    const [expected] = h.sendFrames([hop(segment('A', 40_000, 101))]);
    expect(carried(tunnel6(segment('A', 40_000, 101), UPPER6, OWN6))).toEqual(expected);
    // The upper one's tunnel has a label of its own: this router's is by the packet inside.
    expect(carried(tunnel6(segment('A', 40_000, 101), UPPER6, OWN6, 0x60012345))).toEqual(expected);
  });

  it('are left to the stack where TypeScript or the kernel must look at them', () => {
    const h = router();
    const [begun] = h.sendFrames([segment('S')]);
    const later = segment('A', 40_000, 101);
    const behind = frame6({
      src: CLIENT6,
      dst: VIRTUAL6,
      flags: 'A',
      headers: [[60, [6, 0, 1, 4, 0, 0, 0, 0]]],
    });
    const all: Record<string, Uint8Array> = {
      'a SYN': segment('S'),
      'the last hop': withHops(later, 1),
      'a mark of the tunnel': tunnel6(withEcn(later, 2), UPPER6, OWN6, 0x60300000),
      'what its member gives back': tunnel6(later, untunnel6(begun).dst, OWN6),
      'a tunnel to another host': tunnel6(later, UPPER6, '2001:db8:51::7'),
      'extension headers': behind,
      'a tunnel in a tunnel': tunnel6(tunnel6(later, UPPER6, OWN6), UPPER6, OWN6),
      'a truncated one': later.subarray(0, VIRTIO + 50),
    };
    for (const [name, f] of Object.entries(all)) expect(isLeft(f), name).toBe(true);
    expect(kernel.path.totals()).toMatchObject({ 'out.packets': 0, 'left.ttl': 1, 'left.ecn': 1 });
  });

  it('end as TypeScript follows them', () => {
    const h = router();
    const [begun] = h.sendFrames([segment('S')]);
    expect(carried(segment('FA', 40_000, 101))).toBeDefined();
    const next = snapshot6([1 - MEMBERS6.indexOf(untunnel6(begun).dst as (typeof MEMBERS6)[number])]);
    h.load(next);
    h.advance(100_000);
    expect(untunnel6(h.sendFrames([segment('S', 40_000, 9000)])[0]).dst).not.toBe(untunnel6(begun).dst);
  });
});

describe('packets without a flow', () => {
  it('go to TypeScript, and by their slots what is more than it gets', () => {
    router();
    expect(isLeft(segment('S', 1999))).toBe(true);
    for (let port = 2000; port < 2040; port++)
      for (const f of [segment('S', port), segment('A', port), datagram(port)]) {
        const [chosen] = new SlrHarness(snapshot6()).sendFrames([f]);
        expect(over(f)).toBe(untunnel6(chosen).dst);
        expect(over(tunnel6(f, UPPER6, OWN6))).toBe(untunnel6(chosen).dst);
      }
    expect(kernel.path.totals()['by.slot']).toBe(240);
  });

  it('go by their slots too while no process reads the TUN', () => {
    router();
    ip('link', 'delete', 'tun0');
    const [chosen] = new SlrHarness(snapshot6()).sendFrames([segment('S', 2000)]);
    expect(untunnel6(carried(segment('S', 2000))!).dst).toBe(untunnel6(chosen).dst);
    expect(kernel.path.totals()['left.late']).toBe(1);
  });

  it('are left where no member has an address of IPv6, and dropped where their member gives them back', () => {
    const h = router();
    const member = over(segment('A', 2000));
    expect(over(tunnel6(segment('A', 2000), member, OWN6))).toBe('');
    expect(kernel.verdict).toBe(SHOT);
    expect(over(tunnel6(segment('S', 2000), CLIENT6, OWN6))).toBe('');
    expect(kernel.verdict).toBe(LEFT);
    h.load(snapshot6([0, 1], []));
    expect(over(segment('S', 2000))).toBe('');
    expect(kernel.verdict).toBe(LEFT);
  });
});

describe('at a server', () => {
  const snapshot: ServerSnapshot = {
    ...{ hosts: [prefixOf('2001:db8:80::80/128')], routers: [prefixOf(`${UPPER6}/128`)], isWhole: true },
    ...{ address: parse('198.51.100.11')!, giveBackTo: null },
    ...{ address6: parse(MEMBERS6[0])!, giveBackTo6: parse(UPPER6)! },
  };
  beforeEach(() => {
    const clock = new ManualClock();
    createPipeline({
      ...{
        clock,
        batch: new Batch(clock, new Float64Array(MAX_REASONS)),
        hold: new HoldQueue([]),
        memory: {},
      },
      ...{ gauges: new Float64Array(0), options: {}, kernel: kernel.path.handles(0) },
    }).load(snapshot);
  });

  it("tunnels of the routers above are opened, others' are not, nor those for other addresses", () => {
    for (const inside of [segment('S'), datagram()])
      expect(carried(tunnel6(inside, UPPER6, MEMBERS6[0]), 'server_in6_l2')).toEqual(inside);
    expect(kernel.path.totals()['in.packets']).toBe(2);
    for (const f of [
      tunnel6(segment('S'), CLIENT6, MEMBERS6[0]),
      tunnel6(frame6({ src: CLIENT6, dst: '2001:db8:80::81' }), UPPER6, MEMBERS6[0]),
      tunnel6(segment('S'), UPPER6, MEMBERS6[0], 0x60300000),
      segment('S'),
    ])
      expect(isLeft(f, 'server_in6_l2')).toBe(true);
  });

  it('gives back what belongs to no connection of a socket that listens, and opens what no socket has', async () => {
    ip('-6', 'address', 'add', '2001:db8:80::80/128', 'dev', 'lo', 'nodad');
    const server = createServer().listen(80, '2001:db8:80::80');
    try {
      await once(server, 'listening');
      const stray = tunnel6(segment('A', 40_000, 101), UPPER6, MEMBERS6[0]);
      const back = carried(stray, 'server_in6_l2')!;
      expect(back).toEqual(tunnel6(segment('A', 40_000, 101), MEMBERS6[0], UPPER6, firstOf(back)));
      expect(kernel.verdict).toBe(REDIRECT);
      // A SYN begins a connection, and a RST is never answered by another.
      for (const flags of ['S', 'R'])
        expect(carried(tunnel6(segment(flags), UPPER6, MEMBERS6[0]), 'server_in6_l2')).toEqual(
          segment(flags),
        );
    } finally {
      server.close();
      ip('-6', 'address', 'del', '2001:db8:80::80/128', 'dev', 'lo');
    }
    const elsewhere = segment('A', 40_000, 101);
    expect(carried(tunnel6(elsewhere, UPPER6, MEMBERS6[0]), 'server_in6_l2')).toEqual(elsewhere);
  });
});
