/** Service-level routing in a world of the speed bench: a site's router on its gateway, and a server. */
import { writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { askJson } from '../admin-client.js';
import { cliScript } from '../paths.js';
import type { ProcessId } from '../process.js';
import { makeAuthority, makeCertificate } from '../routed/certificates.js';
import { replicaAddress, SERVICE, type World, type WorldSpec } from './world.js';

const HELLO_PORT = 7417;
const MAX_FLOWS = 262_144;
const HOSTS = ['gateway', 'r1'] as const;
type RoutedHost = (typeof HOSTS)[number];
// Functions, because `world.ts` imports this file too.
const server = (): string => replicaAddress(1);
const router = (): string => server().replace(/2$/, '1');

const what = (spec: WorldSpec, host: string): string => `${spec.name}-${host}`;
const instance = (spec: WorldSpec, host: string): string => `lab-bench-${what(spec, host)}`;
const socketOf = (world: World, host: string): string =>
  `${world.bed.directory}/${what(world.spec, host)}.sock`;

export const routedInstancesOf = (spec: WorldSpec): string[] =>
  HOSTS.flatMap((host) => [instance(spec, host), `${instance(spec, host)}-routing`]);

/** @returns the processes that carry packets: the router's, and the server's, which opens tunnels */
export async function startRouted(world: World): Promise<ProcessId[]> {
  await world.ip('r1', [`addr add ${SERVICE}/32 dev lo`]);
  await makeAuthority(world.bed.directory);
  for (const host of HOSTS)
    await makeCertificate(world.bed.directory, what(world.spec, host), { uri: rightsOf(host) });
  const ids = HOSTS.map((host) => startRole(world, host));
  await world.bed.until(what(world.spec, 'gateway'), async () => {
    const answer = await askJson<{ hosts: { members: { share: number }[] }[] }>(
      socketOf(world, 'gateway'),
      '/v1/routes',
    );
    return answer?.hosts[0]?.members[0]?.share === 1;
  });
  return ids;
}

function rightsOf(host: RoutedHost): string {
  const [level, targets] = host === 'gateway' ? ['site', [router(), server()]] : ['server', [server()]];
  return `firstack:routing?id=${host}&level=${level}&subnet=${SERVICE}/32&${targets.map((t) => `target=${t}/32`).join('&')}`;
}

function startRole(world: World, host: RoutedHost): ProcessId {
  const { bed, spec } = world;
  const isServer = host === 'r1';
  const at = (name: string): string => `${bed.directory}/${name}`;
  const file = {
    instance: instance(spec, host),
    wan: [isServer ? 'wan0' : 'wan1'],
    registry: `file:${at(`${spec.name}-registry.yaml`)}`,
    admin: { listen: `unix:${socketOf(world, host)}` },
    id: host,
    address: isServer ? server() : router(),
    tun: { name: 'fsrt', queueLength: 4096 },
    fastpath: { mode: 'on' },
    log: 'warn',
    virtual: [{ name: 'web', subnet: `${SERVICE}/32` }],
    hello: {
      caFile: at('ca.pem'),
      certFile: at(`${what(spec, host)}.pem`),
      keyFile: at(`${what(spec, host)}.key`),
      uppers: isServer ? [`${router()}:${HELLO_PORT}`] : [],
    },
    // The server must never be busy here, whatever the load of the machine.
    ...(isServer
      ? { limits: { connections: 1_000_000, cpuPct: 100 } }
      : { level: 'site', lan: ['lan0'], flows: { max: MAX_FLOWS } }),
  };
  writeFileSync(at(`${spec.name}-registry.yaml`), '{}\n');
  writeFileSync(at(`${what(spec, host)}.yaml`), stringify(file));
  return bed.spawn(what(spec, host), world.namespace(host), [
    ...['env', `FIRSTACK_BPF_DIR=${bed.state.bpfDirectory}`, `FIRSTACK_STATE_DIR=${bed.directory}/events`],
    ...[process.execPath, cliScript, isServer ? 'replica' : 'origin', '--program', 'routing'],
    ...['--config-file', at(`${what(spec, host)}.yaml`)],
  ]);
}
