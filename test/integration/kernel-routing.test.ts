// A service-level router's hook, run by BPF_PROG_TEST_RUN on packets of a flow that its pipeline pinned.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SlrSnapshot } from '../../origin/routing/snapshot.js';
import { bpf } from '../../src/fastpath/native.js';
import { hookSet } from '../../src/routing/kernel-layout.js';
import { ip as packetOf, tcp, tunnel } from '../support/builder.js';
import { frame, type Packet } from '../support/naive.js';
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
} from '../support/slr.js';
import { bed, ip, kernelOf, settings, stayAwake } from './kernel-bed.js';
import { type Kernel, REDIRECT, SHOT } from './kernel-hooks.js';

bed('slr');

const packet = (flags: string, port = 40_000): Packet =>
  packetOf(CLIENT, VIRTUAL, tcp(port, 80, flags, { seq: 100, ack: flags === 'S' ? 0 : 9 }));

let kernel: Kernel;
beforeEach(async () => {
  ip('tuntap', 'add', 'tun0', 'mode', 'tun');
  ip('link', 'set', 'tun0', 'up');
  kernel = kernelOf('slr', 1024, hookSet(1024));
  await kernel.path.load();
  await kernel.path.configure(settings);
});
afterEach(async () => {
  await kernel.close();
  // Succeeds as well where a test has taken it away.
  ip('tuntap', 'del', 'tun0', 'mode', 'tun');
});

const bytesOf = (p: Packet): Uint8Array => frame(p).subarray(10);
/** Where the hook sends a packet: the outer destination, or '' where it leaves it or drops it. */
function sentTo(p: Packet): string {
  const out = kernel.run('slr_in_l2', 'lan0', bytesOf(p));
  return kernel.verdict !== REDIRECT || out === undefined ? '' : out.subarray(16, 20).join('.');
}

/** A router whose hooks take its TUN's reader for awake. */
function router(first?: SlrSnapshot): SlrHarness {
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

describe.each(['is not read', 'is gone'])('while the TUN %s', (why) => {
  const lose = (): void => {
    if (why === 'is gone') ip('link', 'delete', 'tun0');
    else stayAwake(kernel.path.descriptor('awake'), false);
  };

  it.each([
    ['that has ended', ['A', 'RA'], true],
    ['that its client has not confirmed', [], true],
    ['that its client has confirmed', ['A'], false],
  ] as const)(
    'of a tuple with a flow %s, a SYN goes to the router beside, and what follows where it must',
    (_, before, forgets) => {
      const h = router(snapshot([0, 1], { neighbours: neighbours(BESIDE) }));
      const [first] = h.send(packet('S'));
      expect(MEMBERS).toContain(first.dst);
      for (const flags of before) expect(sentTo(packet(flags))).toBe(first.dst);
      lose();
      expect(sentTo(packet('S'))).toBe(BESIDE);
      expect(sentTo(packet('A'))).toBe(forgets ? BESIDE : first.dst);
    },
  );

  it('without a router beside, packets without a flow go by their slots', () => {
    const inKernel = router();
    const alone = new SlrHarness(snapshot());
    lose();
    for (let port = 2000; port < 2100; port++) {
      const [chosen] = alone.send(packet('S', port));
      expect(sentTo(packet('S', port))).toBe(chosen.dst);
      expect(sentTo(packet('A', port))).toBe(chosen.dst);
    }
    expect(inKernel.counts()).toEqual({});
    expect(kernel.path.totals()['left.late']).toBe(200);
  });
});

describe('what is more than TypeScript gets', () => {
  const over = (p: Packet): string => {
    fillWindow();
    return sentTo(p);
  };

  it('goes by its slot, also after the members have changed', () => {
    const inKernel = router();
    const alone = new SlrHarness(snapshot());
    expect(sentTo(packet('S', 1999))).toBe('');
    for (const usable of [[0, 1], [1], [0, 1]]) {
      inKernel.load(snapshot(usable));
      alone.load(snapshot(usable));
      for (let port = 2000; port < 2040; port++) {
        const [chosen] = new SlrHarness(snapshot(usable)).send(packet('S', port));
        expect(over(packet('S', port))).toBe(chosen.dst);
        expect(over(tunnel(UPPER, OWN, packet('A', port)))).toBe(chosen.dst);
      }
    }
    expect(kernel.path.totals()['by.slot']).toBe(240);
  });

  it('is left to TypeScript where that knows more, or must say no', () => {
    const h = router();
    const [first] = h.send(packet('S'));
    expect(over(packet('S'))).toBe('');
    expect(over(packet('A'))).toBe(first.dst);
    // No router above.
    expect(over(tunnel(BESIDE, OWN, packet('S', 2000)))).toBe('');
    expect(over(packetOf(CLIENT, '203.0.113.99', tcp(1, 80, 'S')))).toBe('');
    expect(over({ ...packet('S', 2000), ttl: 1 })).toBe('');
    h.load(snapshot([]));
    expect(over(packet('S', 2000))).toBe('');
    const [host] = snapshot().hosts;
    h.load(snapshot([0, 1], { hosts: [{ ...host, ports: [80] }] }));
    expect(over(packet('S', 2000))).toBe('');
    expect(kernel.path.totals()['by.slot']).toBe(0);
  });

  it('is dropped where its member has given it back', () => {
    router();
    const member = over(packet('A', 2000));
    expect(over(tunnel(member, OWN, packet('A', 2000)))).toBe('');
    expect(kernel.verdict).toBe(SHOT);
    expect(kernel.path.totals()['drop.given-back']).toBe(1);
  });
});
