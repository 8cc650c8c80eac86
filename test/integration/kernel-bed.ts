// A test bed for the kernel's hooks, which BPF_PROG_TEST_RUN runs: a namespace, interfaces, and gateways that know
// the addresses of the packet table.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, vi } from 'vitest';
import { native } from '../../src/device/native.js';
import type { HookSet } from '../../src/fastpath/maps.js';
import { bpf } from '../../src/fastpath/native.js';
import { hookSet } from '../../src/race/kernel-layout.js';
import { parsePrefix } from '../../src/wire/address.js';
import { PACKETS } from '../contract/packets.js';
import { NOW_SECONDS } from '../support/builder.js';
import { Harness } from '../support/harness.js';
import { interfaces, Kernel } from './kernel-hooks.js';

export const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

// The hooks query routes: clients are behind lan0, all other hosts behind wan0.
const NETWORK = [
  ['link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan1'],
  ['link', 'add', 'wan0', 'type', 'veth', 'peer', 'name', 'wan1'],
  ...['lan0', 'lan1', 'wan0', 'wan1'].map((d) => ['link', 'set', d, 'up']),
  ['address', 'add', '10.0.0.1/30', 'dev', 'lan0'],
  ['address', 'add', '172.31.0.1/30', 'dev', 'wan0'],
  ['neigh', 'add', '10.0.0.2', 'lladdr', '02:00:00:00:00:01', 'dev', 'lan0'],
  ['neigh', 'add', '172.31.0.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'wan0'],
  ['route', 'add', '10.0.0.0/8', 'via', '10.0.0.2'],
  ['route', 'add', 'default', 'via', '172.31.0.2'],
  ['-6', 'address', 'add', '2001:db8:0:1::1/64', 'dev', 'lan0', 'nodad'],
  ['-6', 'address', 'add', '2001:db8:ffff::1/64', 'dev', 'wan0', 'nodad'],
  ['-6', 'neigh', 'add', '2001:db8:0:1::7', 'lladdr', '02:00:00:00:00:01', 'dev', 'lan0'],
  ['-6', 'neigh', 'add', '2001:db8:ffff::2', 'lladdr', '02:00:00:00:00:02', 'dev', 'wan0'],
  ['-6', 'route', 'add', 'default', 'via', '2001:db8:ffff::2'],
];

let kernelModule: typeof import('../../src/fastpath/kernel.js');

/** Before a file's tests: a namespace with two interfaces, a bpffs, and the wall clock of the packet table. */
export function bed(name: string): void {
  const namespace = `fs-${name}-${process.pid}`;
  const home = mkdtempSync(`/tmp/firstack-${name}-`);

  beforeAll(async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: NOW_SECONDS * 1000 });
    execFileSync('mount', ['-t', 'bpf', 'bpf', home]);
    process.env.FIRSTACK_BPF_DIR = home;
    process.env.FIRSTACK_RUN_DIR = home;
    kernelModule = await import('../../src/fastpath/kernel.js');
    ip('netns', 'add', namespace);
    // The programs ask the tables of the namespace that runs them: this thread's.
    native.setns(`/run/netns/${namespace}`);
    execFileSync('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
    for (const args of NETWORK) ip(...args);
    for (const link of JSON.parse(ip('-j', 'link', 'show'))) interfaces[link.ifname] = link.ifindex;
  });

  afterAll(() => {
    vi.useRealTimers();
    native.setns(`/proc/${process.ppid}/ns/net`);
    ip('netns', 'del', namespace);
    execFileSync('umount', ['-l', home]);
    rmSync(home, { recursive: true });
  });
}

/** An instance's maps and hooks, not loaded yet. */
export function kernelOf(instance: string, flows = 4096, hooks: HookSet = hookSet(flows)): Kernel {
  return new Kernel(new kernelModule.KernelPath(instance, 1, hooks), instance);
}

export const settings = {
  stack: false,
  mark: 1,
  mask: 1,
  tun: 'tun0',
  clients: [parsePrefix('10.0.0.0/8')!, parsePrefix('2001:db8:0:1::/64')!],
};
const row = PACKETS.find(
  (r) => r.role === 'gateway' && r.configuration === 'A' && r.name.startsWith("the client's ACK"),
)!;

/** Nobody ticks here: the hooks are told that the TUN's reader is awake for good. */
export function stayAwake(fd: number, isAwake = true): void {
  bpf.update(fd, new Uint8Array(4), 4, new Uint8Array(8).fill(isAwake ? 0x7f : 0), 8, 1);
}

/** A gateway that knows its services and clients, and has a TUN. */
export async function gateway(instance: string, flows = 4096): Promise<Kernel> {
  ip('tuntap', 'add', 'tun0', 'mode', 'tun');
  ip('link', 'set', 'tun0', 'up');
  const kernel = kernelOf(instance, flows);
  await kernel.path.load();
  new Harness('gateway', { configuration: 'A', ...row.world }, kernel.path.handles(0));
  await kernel.path.configure(settings);
  stayAwake(kernel.path.descriptor('awake'));
  return kernel;
}
