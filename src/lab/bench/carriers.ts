/**
 * What carries packets between clients and servers on a world's gateway: plain routing, other software, or firstack.
 */
import { writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import type { Configuration } from '../../race/records.js';
import type { Race } from '../../race/release.js';
import { chain, set, steerTo, TUN_ADDRESS } from '../../steer/plan.js';
import { ask, askJson, type RoleStatus } from '../admin-client.js';
import { cliScript } from '../paths.js';
import { mustRun, type ProcessId } from '../process.js';
import { routedInstancesOf, startRouted } from './routed-carrier.js';
import {
  CLIENTS,
  CLIENTS6,
  PORT,
  replicaAddress,
  replicaAddress6,
  SERVICE,
  type World,
  type WorldSpec,
} from './world.js';

export type Carrier =
  /** Clients connect to the server itself, through a router. */
  | { kind: 'plain' }
  /** nftables translates the destination. */
  | { kind: 'nft' }
  | { kind: 'haproxy'; splice: boolean }
  /** The C program on a TUN. */
  | { kind: 'c' }
  /** A site's router of service-level routing, and the server's own role. */
  | { kind: 'routed' }
  /** firstack; either through the TUN, or with flows pinned in the kernel. */
  | {
      kind: 'firstack';
      configuration: Configuration;
      fastpath: 'off' | 'on';
      race?: Race;
      pinAfterPackets?: number;
      openings?: boolean;
      maxFlows?: number;
    };

const QUEUE_LENGTH = 4096;
const GATEWAY_ID = 1;
const MAX_FLOWS = 262_144;

const what = (spec: WorldSpec, host: string): string => `${spec.name}-${host}`;
const instance = (spec: WorldSpec, host: string): string => `lab-bench-${what(spec, host)}`;

export function instancesOf(spec: WorldSpec): string[] {
  if (spec.carrier.kind === 'routed') return routedInstancesOf(spec);
  return rolesOf(spec).map((host) => instance(spec, host));
}

/** The hosts with a role. In configuration A the servers need no firstack role. */
function rolesOf(spec: WorldSpec): string[] {
  if (spec.carrier.kind !== 'firstack') return [];
  const replicas = Array.from({ length: spec.replicas ?? 1 }, (_, k) => `r${k + 1}`);
  return spec.carrier.configuration === 'A' ? ['gateway'] : ['gateway', ...replicas];
}

/** @returns the processes that carry packets */
export async function startCarrier(world: World): Promise<ProcessId[]> {
  const { carrier } = world.spec;
  if (carrier.kind === 'plain') return [];
  if (carrier.kind === 'nft') return startNft(world);
  if (carrier.kind === 'haproxy') return startHaproxy(world, carrier.splice);
  if (carrier.kind === 'c') return startTunNat(world);
  if (carrier.kind === 'routed') return startRouted(world);
  return startRoles(world);
}

async function nft(world: World, text: string): Promise<void> {
  await mustRun(['nsenter', `--net=${world.netns('gateway')}`, '--', 'nft', '-f', '-'], text);
}

async function startNft(world: World): Promise<ProcessId[]> {
  await nft(
    world,
    `table ip bench {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr ${SERVICE} tcp dport ${PORT} dnat to ${replicaAddress(1)}:${PORT}
  }
}
`,
  );
  return [];
}

async function startHaproxy(world: World, splice: boolean): Promise<ProcessId[]> {
  await world.ip('gateway', [`route del ${SERVICE}/32 dev void0`, `addr add ${SERVICE}/32 dev lo`]);
  const file = `${world.bed.directory}/${world.name}.cfg`;
  writeFileSync(
    file,
    `global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${splice ? '  option splice-auto\n' : ''}listen web
  bind ${SERVICE}:${PORT} backlog 65535
  server r1 ${replicaAddress(1)}:${PORT}
`,
  );
  const name = what(world.spec, 'haproxy');
  const id = world.bed.spawn(name, world.namespace('gateway'), ['haproxy', '-db', '-f', file]);
  const port = PORT.toString(16).toUpperCase().padStart(4, '0');
  const listens = (): boolean => new RegExp(`:${port} 0{8}:0{4} 0A `).test(world.proc('gateway', 'tcp'));
  await world.bed.until(name, () => listens());
  return [id];
}

/** Uses the same steering that the gateway role would request. */
async function startTunNat(world: World): Promise<ProcessId[]> {
  const tun = 'tunc';
  const name = what(world.spec, 'tun-nat');
  const id = world.bed.spawn(name, world.namespace('gateway'), [
    world.bed.program('tun-nat'),
    ...[tun, String(QUEUE_LENGTH), SERVICE, String(PORT), replicaAddress(1), String(PORT)],
  ]);
  await world.bed.until(name, () => hasDevice(world, tun));
  const steer = { mark: 0x01000000, mask: 0x0f000000 };
  const rules = [
    `iifname "${tun}" notrack accept`,
    `iifname "lan0" ip saddr @clients ip daddr . tcp dport @services ${steerTo(steer)} notrack`,
    `iifname "wan1" ip daddr @clients ip saddr . tcp sport @endpoints ${steerTo(steer)} notrack`,
  ];
  const sets = [
    set('clients', 'ipv4_addr', [CLIENTS]),
    set('services', 'ipv4_addr . inet_service', [`${SERVICE} . ${PORT}`]),
    set('endpoints', 'ipv4_addr . inet_service', [`${replicaAddress(1)} . ${PORT}`]),
  ];
  await world.ip('gateway', [
    `addr add ${TUN_ADDRESS} dev ${tun} scope link`,
    `route add default dev ${tun} table 7411`,
    'rule add pref 7411 fwmark 0x1000000/0xf000000 lookup 7411',
  ]);
  world.within('gateway', () => {
    writeFileSync(`/proc/sys/net/ipv4/conf/${tun}/rp_filter`, '2');
    writeFileSync(`/proc/sys/net/ipv4/conf/${tun}/accept_local`, '1');
  });
  await nft(
    world,
    `table inet bench {\n${sets.join('')}${chain('prerouting', 'prerouting', 'filter', rules)}}\n`,
  );
  return [id];
}

function hasDevice(world: World, device: string): boolean {
  return world.proc('gateway', 'dev').includes(` ${device}:`);
}

// ---- firstack ------------------------------------------------------------------------------------------------

type Firstack = Extract<Carrier, { kind: 'firstack' }>;

const socketOf = (world: World, host: string): string =>
  `${world.bed.directory}/${what(world.spec, host)}.sock`;

async function startRoles(world: World): Promise<ProcessId[]> {
  const carrier = world.spec.carrier as Firstack;
  await makeKeys(world);
  writeFileSync(`${world.bed.directory}/${world.name}-registry.yaml`, stringify(registry(world, carrier)));
  if (carrier.configuration !== 'A')
    for (const host of world.replicas) await world.ip(host, [`addr add ${SERVICE}/32 dev lo`]);
  const ids = [];
  for (const host of [...rolesOf(world.spec)].reverse()) {
    const file = host === 'gateway' ? gatewayFile(world, carrier) : replicaFile(world, carrier, host);
    writeFileSync(configFile(world, host), stringify(file));
    ids.push(startRole(world, host));
  }
  await waitForRoles(world);
  return ids;
}

const configFile = (world: World, host: string): string =>
  `${world.bed.directory}/${what(world.spec, host)}.yaml`;

export function startRole(world: World, host: string): ProcessId {
  const { configuration, fastpath, race } = world.spec.carrier as Firstack;
  const role = host === 'gateway' ? 'gateway' : 'replica';
  const argv = [process.execPath, cliScript, role, '--config-file', configFile(world, host)];
  argv.push('--configuration', configuration, '--fastpath', fastpath);
  if (role === 'gateway') argv.push('--race', race ?? 'gateway');
  return world.bed.spawn(what(world.spec, host), world.namespace(host), [
    ...['env', `FIRSTACK_BPF_DIR=${world.bed.state.bpfDirectory}`],
    `FIRSTACK_STATE_DIR=${world.bed.state.directory}/events`,
    ...argv,
  ]);
}

export async function waitForRoles(world: World): Promise<void> {
  for (const host of rolesOf(world.spec)) {
    await world.bed.until(what(world.spec, host), async () => {
      if ((await ask(socketOf(world, host), '/readyz'))?.status !== 200) return false;
      const applied = (await statusOf(world, host))?.applied;
      return applied !== undefined && applied.replicasUp.length === world.replicas.length;
    });
  }
}

export type KernelStatus = RoleStatus & {
  fastpath?: { flows: number; 'out.packets': number };
  flows?: number;
};

export function statusOf(world: World, host: string): Promise<KernelStatus | undefined> {
  return askJson<KernelStatus>(socketOf(world, host), '/v1/status');
}

/** The directory in which that role pins its maps and hooks. */
export function pinDirectory(world: World, host: string): string {
  return `${world.bed.state.bpfDirectory}/firstack/${instance(world.spec, host)}`;
}

async function makeKeys(world: World): Promise<void> {
  const { bed } = world;
  if (bed.hasKeys) return;
  const keygen = (...args: string[]): Promise<string> =>
    mustRun([process.execPath, cliScript, 'keygen', ...args]);
  const [master, gateway] = [`${bed.directory}/master.key`, `${bed.directory}/gateway.key`];
  await keygen('--out', master);
  await keygen('--from', master, '--gateway', String(GATEWAY_ID), '--out', gateway);
  bed.hasKeys = true;
}

function common(world: World, carrier: Firstack, host: string): Record<string, unknown> {
  return {
    instance: instance(world.spec, host),
    registry: `file:${world.bed.directory}/${world.name}-registry.yaml`,
    admin: { listen: `unix:${socketOf(world, host)}` },
    flows: { max: carrier.maxFlows ?? MAX_FLOWS },
    fastpath: { pinAfterPackets: carrier.pinAfterPackets ?? 0 },
    log: 'warn',
  };
}

function gatewayFile(world: World, carrier: Firstack): unknown {
  return {
    ...common(world, carrier, 'gateway'),
    fastpath: { pinAfterPackets: carrier.pinAfterPackets ?? 0, openings: carrier.openings ?? true },
    lan: ['lan0'],
    wan: world.replicas.map((_, k) => `wan${k + 1}`),
    tun: { name: 'fsgw', queueLength: QUEUE_LENGTH },
    prefixes: [CLIENTS, ...(world.spec.family === 6 ? [CLIENTS6] : [])],
    tag: { gatewayId: GATEWAY_ID, keyFile: `${world.bed.directory}/gateway.key` },
  };
}

function replicaFile(world: World, carrier: Firstack, host: string): unknown {
  return {
    ...common(world, carrier, host),
    id: host,
    wan: ['wan0'],
    tun: { name: 'fsre', queueLength: QUEUE_LENGTH },
    address: replicaAddress(Number(host.slice(1))),
    tag: { keyFile: `${world.bed.directory}/master.key` },
    services: [{ name: 'web', port: PORT }],
    // The replica must never be busy here, whatever the load of the machine.
    limits: { connections: 1_000_000, cpuPct: 100 },
    loadPenaltyMs: 0,
  };
}

function registry(world: World, carrier: Firstack): unknown {
  return {
    services: [
      {
        name: 'web',
        address: world.address,
        ports: [PORT],
        configuration: carrier.configuration,
        replicable: true,
      },
    ],
    replicas: world.replicas.map((id, k) => ({
      id,
      address: replicaAddress(k + 1),
      ...(world.spec.family === 6 ? { address6: replicaAddress6(k + 1) } : {}),
      services: [{ name: 'web', port: PORT }],
    })),
    gateways: [{ id: GATEWAY_ID, prefixes: [CLIENTS] }],
  };
}
