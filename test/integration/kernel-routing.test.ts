// A service-level router's hook, run by BPF_PROG_TEST_RUN on packets of a flow that its pipeline pinned.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hookSet } from '../../src/routing/kernel-layout.js';
import { ip as packetOf, tcp } from '../support/builder.js';
import { frame } from '../support/naive.js';
import { BESIDE, CLIENT, MEMBERS, neighbours, SlrHarness, snapshot, VIRTUAL } from '../support/slr.js';
import { bed, ip, kernelOf, settings, stayAwake } from './kernel-bed.js';
import { type Kernel, LEFT } from './kernel-hooks.js';

bed('slr');

const packet = (flags: string) =>
  packetOf(CLIENT, VIRTUAL, tcp(40_000, 80, flags, { seq: 100, ack: flags === 'S' ? 0 : 9 }));

let kernel: Kernel;
beforeEach(async () => {
  ip('tuntap', 'add', 'tun0', 'mode', 'tun');
  ip('link', 'set', 'tun0', 'up');
  kernel = kernelOf('slr', 1024, hookSet(1024));
  await kernel.path.load();
  await kernel.path.configure(settings);
  stayAwake(kernel.path.descriptor('awake'));
});
afterEach(async () => {
  await kernel.close();
  // Succeeds as well where a test has taken it away.
  ip('tuntap', 'del', 'tun0', 'mode', 'tun');
});

/** Where the hook sends a packet: the outer destination, or '' where it leaves it. */
function sentTo(flags: string): string {
  const out = kernel.run('slr_in_l2', 'lan0', frame(packet(flags)).subarray(10));
  return kernel.verdict === LEFT || out === undefined ? '' : out.subarray(16, 20).join('.');
}

describe.each(['is not read', 'is gone'])('while the TUN %s', (why) => {
  it.each([
    ['that has ended', ['A', 'RA'], true],
    ['that its client has not confirmed', [], true],
    ['that its client has confirmed', ['A'], false],
  ] as const)(
    'of a tuple with a flow %s, a SYN goes to the router beside, and what follows where it must',
    (_, before, forgets) => {
      const h = new SlrHarness(
        snapshot([0, 1], { neighbours: neighbours(BESIDE) }),
        1024,
        kernel.path.handles(0),
      );
      const [first] = h.send(packet('S'));
      expect(MEMBERS).toContain(first.dst);
      for (const flags of before) expect(sentTo(flags)).toBe(first.dst);
      if (why === 'is gone') ip('link', 'delete', 'tun0');
      else stayAwake(kernel.path.descriptor('awake'), false);
      expect(sentTo('S')).toBe(BESIDE);
      expect(sentTo('A')).toBe(forgets ? BESIDE : first.dst);
    },
  );
});
