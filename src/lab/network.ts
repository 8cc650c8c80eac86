/**
 * The laboratory's network: one namespace per host, joined by veth pairs. Only plain Linux features are used, so that
 * every network tool works inside.
 *
 *   client ── gateway ──┐            ┌── origin ── server
 *  192.0.2.2   .1       │            │   203.0.113.1  .10
 *             198.18.1.2├─── wan ────┤198.18.2.2
 *                       │            │
 *                 r1 ───┘            └─── rN
 *            198.18.11.2                198.18.(10+N).2
 *
 * A farm is one more host, 198.18.3.2, whose own are all addresses of its machines (198.19.0.0/16).
 *
 * Within `wan`, a packet from a host is routed by *its ingress interface* (`ip rule iif`) into that host's own TUN,
 * because a replica in configuration B sends with the service's address as its source. The emulator holds the packet
 * and writes it back to the same TUN, and the main table routes it on: traceroute shows a path as two hops.
 */
import { closeSync, existsSync, openSync, statSync, writeFileSync } from 'node:fs';
import { native } from '../device/native.js';
import { FirstackError } from '../errors.js';
import { isV6Text } from '../wire/address.js';
import { FARM, FARM_PREFIX } from './farm.js';
import { namespaceRoot } from './paths.js';
import { mustRun } from './process.js';
import type { PathOptions, Topology } from './topology.js';

export const CLIENT_ADDRESS = '192.0.2.2';
export const CLIENT_PREFIX = '192.0.2.0/24';
/** The clients' further prefixes, where a topology has several: 10.64.1.0/24 … behind the first client. */
const MORE_CLIENTS = '10.64.0.0/16';
const moreClients = (topology: Pick<Topology, 'clientPrefixes'>): number[] =>
  Array.from({ length: (topology.clientPrefixes ?? 1) - 1 }, (_, n) => n + 1);
/** The prefixes from which clients connect, and the client's address in each. */
export const clientPrefixes = (topology: Pick<Topology, 'clientPrefixes'>): string[] => [
  CLIENT_PREFIX,
  ...moreClients(topology).map((n) => `10.64.${n}.0/24`),
];
export const clientAddresses = (topology: Pick<Topology, 'clientPrefixes'>): string[] => [
  CLIENT_ADDRESS,
  ...moreClients(topology).map((n) => `10.64.${n}.2`),
];
export const SERVER_PREFIX = '203.0.113.0/24';
/** The same over IPv6, in laboratories that have it (RFC 3849). */
export const CLIENT_PREFIX6 = '2001:db8:1::/48';
export const CLIENT_ADDRESS6 = '2001:db8:1::2';
/** The IPv6 twin of the first service. */
export const SERVICE6 = { name: 'web6', address: '2001:db8:203::10' };
const SERVER_PREFIX6 = '2001:db8:203::/48';
const TUN_QUEUE_LENGTH = 10_000;

/** The third number of a WAN host's addresses: 198.18.N.2, with the wan's side as .1. */
export function wanNumber(host: string): number {
  if (host === 'gateway') return 1;
  if (host === 'origin') return 2;
  if (host === FARM) return 3;
  return 10 + Number(host.slice(1));
}

export function wanAddress(host: string): string {
  return `198.18.${wanNumber(host)}.2`;
}

export const wanAddress6 = (host: string): string => `2001:db8:18:${wanNumber(host)}::2`;

/** {@link prefixesOf} of IPv6. */
export function prefixesOf6(host: string): string[] {
  const own = `2001:db8:18:${wanNumber(host)}::/64`;
  if (host === 'gateway') return [own, CLIENT_PREFIX6];
  return host === 'origin' ? [own, SERVER_PREFIX6] : [own];
}

/** The prefixes behind a WAN host, as the wan namespace routes them. */
export function prefixesOf(host: string): string[] {
  const own = `198.18.${wanNumber(host)}.0/24`;
  if (host === 'gateway') return [own, CLIENT_PREFIX, MORE_CLIENTS];
  if (host === 'origin') return [own, SERVER_PREFIX];
  if (host === FARM) return [own, FARM_PREFIX];
  return [own];
}

export function namespaceOf(lab: string, host: string): string {
  return `fs-${lab}-${host}`;
}

export function hostsOf(topology: Topology): string[] {
  const farm = topology.farm === undefined ? [] : [FARM];
  return ['client', 'gateway', 'wan', 'origin', ...topology.servers, ...topology.replicas, ...farm];
}

/** A server's own address on the LAN between it and the origin; the origin's side has .1. */
export function serverAddress(host: string): string {
  return `10.203.${host === 'server' ? 1 : Number(host.slice(1))}.2`;
}

/** The origin's interface towards a server. */
export function serverLan(host: string): string {
  return host === 'server' ? 'lan0' : `lan-${host}`;
}

/**
 * Runs `what` with this thread in another network namespace. `what` must be synchronous, because awaited code would
 * run in the original namespace. Sockets and files that are opened inside stay in that namespace.
 */
export function within<T>(namespace: string, what: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    native.setns(`${namespaceRoot}/${namespace}`);
    return what();
  } finally {
    native.setns(`/proc/self/fd/${home}`);
    closeSync(home);
  }
}

/** The namespace's inode number, which tells it from a later namespace of the same name. */
export function inodeOf(namespace: string): number | undefined {
  try {
    return statSync(`${namespaceRoot}/${namespace}`).ino;
  } catch {
    return undefined;
  }
}

/**
 * Makes namespaces and runs each one's `ip` commands, those of the first host in `commands` before the others'.
 * @param routes whether a host forwards packets
 * @param commands6 of `ip -6`, run behind the others; without it no host has IPv6
 */
export async function createHosts(
  lab: string,
  hosts: readonly string[],
  commands: Readonly<Record<string, string[]>>,
  routes: (host: string) => boolean,
  commands6: Readonly<Record<string, string[]>> = {},
): Promise<void> {
  const hasV6 = Object.keys(commands6).length > 0;
  await ipBatch(
    undefined,
    hosts.map((h) => `netns add ${namespaceOf(lab, h)}`),
  );
  for (const host of hosts) setSysctls(namespaceOf(lab, host), host, routes(host), hasV6);
  const [first, ...others] = Object.keys(commands);
  await ipBatch(namespaceOf(lab, first), commands[first]);
  await Promise.all(others.map((host) => ipBatch(namespaceOf(lab, host), commands[host])));
  for (const [host, lines] of Object.entries(commands6)) await ipBatch(namespaceOf(lab, host), lines, ['-6']);
}

/** Makes the namespaces and everything in them. They must not exist yet. */
export async function createNetwork(lab: string, topology: Topology): Promise<void> {
  const hosts = hostsOf(topology);
  await ipBatch(
    undefined,
    hosts.map((h) => `netns add ${namespaceOf(lab, h)}`),
  );
  for (const host of hosts)
    setSysctls(
      namespaceOf(lab, host),
      host,
      host !== 'client' && !/^s(erver|\d+)$/.test(host),
      topology.ipv6,
    );
  const commands = plan(lab, topology);
  // The wan's half comes first, because it makes all of the WAN's veth pairs; the hosts' own halves are then
  // independent.
  for (const first of ['wan', 'client', ...topology.servers])
    await ipBatch(namespaceOf(lab, first), commands[first]);
  await Promise.all(topology.wanHosts.map((host) => ipBatch(namespaceOf(lab, host), commands[host])));
  const over6 = topology.ipv6 ? Object.entries(plan6(topology)) : [];
  for (const [host, lines] of over6) await ipBatch(namespaceOf(lab, host), lines, ['-6']);
}

/**
 * The `ip` commands of each host, in the order in which `createNetwork` runs them: the first end of a pair creates
 * the other end.
 */
export function plan(lab: string, topology: Topology): Record<string, string[]> {
  const commands: Record<string, string[]> = {};
  const wan: string[] = ['link set lo up'];
  commands.wan = wan;
  for (const host of topology.wanHosts) {
    const n = wanNumber(host);
    const [veth, tun] = [`to-${host}`, `w-${host}`];
    wan.push(
      `link add ${veth} type veth peer name wan0 netns ${namespaceOf(lab, host)}`,
      `addr add 198.18.${n}.1/24 dev ${veth}`,
      `link set ${veth} up`,
      // Made here and not by the emulator, so that without an emulator packets are lost instead of undelayed.
      `tuntap add dev ${tun} mode tun vnet_hdr`,
      `link set ${tun} mtu 1500 txqueuelen ${TUN_QUEUE_LENGTH} up`,
      `route add default dev ${tun} table ${100 + n}`,
      `rule add pref ${100 + n} iif ${veth} lookup ${100 + n}`,
    );
    commands[host] = [
      'link set lo up',
      `addr add ${wanAddress(host)}/24 dev wan0`,
      'link set wan0 up',
      `route add default via 198.18.${n}.1`,
    ];
  }
  for (const host of topology.wanHosts) {
    for (const prefix of prefixesOf(host).slice(1)) {
      wan.push(`route add ${prefix} via ${wanAddress(host)}`);
    }
  }
  // One route makes all of the machines' addresses the host's own; thousands of addresses would take minutes.
  if (topology.farm !== undefined) commands[FARM].push(`route add local ${FARM_PREFIX} dev lo`);
  for (const [path, options] of Object.entries(topology.paths)) wan.push(...mtuRoutes(path, options));
  const clients = clientAddresses(topology).map((a) => `${a}/24`);
  commands.client = lan(namespaceOf(lab, 'gateway'), clients, '192.0.2.1');
  commands.gateway.push('addr add 192.0.2.1/24 dev lan0', 'link set lan0 up');
  if (clients.length > 1) commands.gateway.push(`route add ${MORE_CLIENTS} via ${CLIENT_ADDRESS}`);
  const services = topology.services.map((s, n) => `${s.address}/${n === 0 ? 24 : 32}`);
  commands.server = lan(namespaceOf(lab, 'origin'), services, '203.0.113.1');
  commands.origin.push('addr add 203.0.113.1/24 dev lan0', 'link set lan0 up');
  if (topology.servers.length > 1) several(lab, topology, commands);
  return commands;
}

/** The same network over IPv6, as commands of `ip -6`. No host waits for duplicate address detection. */
export function plan6(topology: Topology): Record<string, string[]> {
  const commands: Record<string, string[]> = {};
  const add = (host: string, ...lines: string[]) => {
    commands[host] = [...(commands[host] ?? []), ...lines];
  };
  const address = (text: string, dev: string): string => `addr add ${text}/64 dev ${dev} nodad`;
  const router = (text: string): string => `route add default via ${text}`;
  for (const host of topology.wanHosts) {
    const n = wanNumber(host);
    const [near, far] = [`2001:db8:18:${n}::1`, wanAddress6(host)];
    add('wan', address(near, `to-${host}`), `route add default dev w-${host} table ${100 + n}`);
    add('wan', `rule add pref ${100 + n} iif to-${host} lookup ${100 + n}`);
    add('wan', ...prefixesOf6(host).flatMap((p, k) => (k === 0 ? [] : [`route add ${p} via ${far}`])));
    add(host, address(far, 'wan0'), router(near));
  }
  for (const [path, { mtu }] of Object.entries(topology.paths)) {
    const [from, to] = path.split('>');
    const narrow = (p: string): string =>
      `route add ${p} dev w-${from} table ${100 + wanNumber(from)} mtu lock ${mtu}`;
    if (mtu !== undefined) add('wan', ...prefixesOf6(to).map(narrow));
  }
  add('client', address(CLIENT_ADDRESS6, 'lan0'), router('2001:db8:1::1'));
  add('gateway', address('2001:db8:1::1', 'lan0'));
  add('server', address(SERVICE6.address, 'lan0'), router('2001:db8:203::1'));
  add('origin', address('2001:db8:203::1', 'lan0'));
  return commands;
}

/** Each server has its own address on its own LAN; all servers but the first have the services' addresses on `lo`. */
function several(lab: string, topology: Topology, commands: Record<string, string[]>): void {
  for (const host of topology.servers) {
    const own = serverAddress(host);
    const router = own.replace(/2$/, '1');
    if (host === 'server') commands.server.push(`addr add ${own}/24 dev lan0`);
    else {
      const pair = `link add lan0 type veth peer name ${serverLan(host)} netns ${namespaceOf(lab, 'origin')}`;
      const addresses = topology.services.map((s) => `addr add ${s.address}/32 dev lo`);
      const up = [`addr add ${own}/24 dev lan0`, 'link set lan0 up', `route add default via ${router}`];
      commands[host] = ['link set lo up', ...addresses, pair, ...up];
    }
    commands.origin.push(`addr add ${router}/24 dev ${serverLan(host)}`, `link set ${serverLan(host)} up`);
  }
}

function lan(peer: string, addresses: string[], router: string): string[] {
  return [
    'link set lo up',
    `link add lan0 type veth peer name lan0 netns ${peer}`,
    ...addresses.map((a) => `addr add ${a} dev lan0`),
    'link set lan0 up',
    `route add default via ${router}`,
  ];
}

/**
 * A smaller MTU of a path is a locked route on the way into the emulator: the kernel then fragments, or answers
 * "fragmentation needed", as a router would, also for segments of a super-packet.
 */
function mtuRoutes(path: string, options: PathOptions): string[] {
  if (options.mtu === undefined) return [];
  const [from, to] = path.split('>');
  const table = 100 + wanNumber(from);
  return prefixesOf(to).map((p) => `route add ${p} dev w-${from} table ${table} mtu lock ${options.mtu}`);
}

/**
 * A new namespace inherits its IPv4 settings from the machine (net.core.devconf_inherit_init_net), so every relevant
 * setting is set: the laboratory is then the same on every machine. `default` must be set before any device exists.
 */
function setSysctls(namespace: string, host: string, routes: boolean, ipv6: boolean): void {
  within(namespace, () => {
    const set = (key: string, value: number) =>
      writeFileSync(`/proc/sys/net/ipv4/${key}`, String(value), { flag: 'r+' });
    set('ip_forward', routes ? 1 : 0);
    set('conf/all/arp_ignore', 0);
    set('conf/all/arp_announce', 0);
    set('conf/all/rp_filter', 0);
    // Packets of one flow go one way, and flows of one pair of hosts several.
    set('fib_multipath_hash_policy', 1);
    // Debian's systemd sets 2 on machines on which the roles will run. In the wan namespace a packet may come from
    // any address, and comes back from a TUN without a route to that address.
    set('conf/default/rp_filter', host === 'wan' ? 0 : 2);
    set('conf/default/accept_local', host === 'wan' ? 1 : 0);
    set('conf/all/send_redirects', host === 'wan' ? 0 : 1);
    set('conf/default/send_redirects', host === 'wan' ? 0 : 1);
    set('conf/default/arp_ignore', 0);
    set('conf/default/arp_announce', 0);
    if (!ipv6) return;
    for (const [key, value] of Object.entries({ forwarding: routes ? 1 : 0, accept_dad: 0, accept_ra: 0 }))
      for (const which of ['all', 'default'])
        writeFileSync(`/proc/sys/net/ipv6/conf/${which}/${key}`, String(value), { flag: 'r+' });
  });
}

/** Adds service addresses to the replica (in configurations B and C its own stack answers as S) or removes them. */
export async function setServiceAddresses(
  lab: string,
  replica: string,
  addresses: readonly { address: string; have: boolean }[],
): Promise<void> {
  const namespace = namespaceOf(lab, replica);
  const present = await mustRun(['ip', '-n', namespace, '-o', 'addr', 'show', 'dev', 'lo']);
  const lines = addresses
    .map(({ address, have }) => ({ whole: `${address}/${isV6Text(address) ? 128 : 32}`, have }))
    .filter(({ whole, have }) => present.includes(` ${whole} `) !== have)
    .map(({ whole, have }) => `addr ${have ? 'add' : 'del'} ${whole} dev lo`);
  await ipBatch(namespace, lines);
}

/** Deletes those namespaces that are still the ones that this laboratory made. */
export async function deleteNamespaces(made: { name: string; inode?: number }[]): Promise<void> {
  const ours = made.filter(
    (m) => existsSync(`${namespaceRoot}/${m.name}`) && (m.inode === undefined || inodeOf(m.name) === m.inode),
  );
  await ipBatch(
    undefined,
    ours.map((m) => `netns del ${m.name}`),
  );
}

async function ipBatch(namespace: string | undefined, lines: string[], family: string[] = []): Promise<void> {
  if (lines.length === 0) return;
  const argv = ['ip', ...family, ...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'];
  try {
    await mustRun(argv, `${lines.join('\n')}\n`);
  } catch (error) {
    // `ip` prints the number of the failed line; the message shows the line itself.
    const message = (error as Error).message;
    const line = /-:(\d+)/.exec(message)?.[1];
    throw new FirstackError('FSA_LAB_FAILED', line ? `${message} (${lines[Number(line) - 1]})` : message);
  }
}
