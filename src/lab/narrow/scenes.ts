/** Paths with a narrow hop: the laboratory in which transfers are tried over them. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Fastpath } from '../../fastpath/modes.js';
import type { Configuration } from '../../race/records.js';
import { PORT } from '../../wire/path-probe.js';
import { askJson } from '../admin-client.js';
import { Lab } from '../lab.js';
import { SERVICE6 } from '../network.js';
import { narrowClientScript } from '../paths.js';
import { waitUntil } from '../process.js';
import { loadTopology, type Topology } from '../topology.js';
import type { Transfer, Way } from './transfer.js';

export interface Narrow {
  /** 6: over IPv6, in configuration A, with ICMPv6 errors; by default 4. */
  family?: 4 | 6;
  configuration: Configuration;
  fastpath: Fastpath;
  /** The MTU of the hop: of the WAN both ways, of the hop to the client that way. */
  mtu: number;
  /** Which hop is narrow: the WAN between the gateway and the nearest replica, or that from the gateway to the client. */
  hop: 'wan' | 'client';
  /**
   * How the hop behaves: it answers with ICMP errors; it sends none; or no host sets DF, and it fragments. Only where it
   * sends none are the gateway's path probes answered: else they would tell every host at once what passes, and neither
   * errors nor fragments would be needed.
   */
  kind: 'icmp' | 'blocked' | 'fragments';
  seed: number;
}

/** The replica that is nearest to the client, behind the narrow hop. */
export const NEAREST = 'r2';
const TOPOLOGY = 'replica-nearest';

/** The laboratory's topology, with the narrow hop. */
function topologyOf(n: Narrow): Topology {
  const topology = structuredClone(loadTopology(TOPOLOGY));
  topology.ipv6 = n.family === 6;
  if (n.hop === 'wan')
    for (const path of [`gateway>${NEAREST}`, `${NEAREST}>gateway`]) topology.paths[path] = { mtu: n.mtu };
  return topology;
}

/** Brings the laboratory up, and calls `body`. */
export async function withNarrow<T>(n: Narrow, body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await Lab.create({
    ...{ name: `narrow-${process.pid}`, topology: topologyOf(n), race: 'learned' },
    ...{ configuration: n.configuration, fastpath: n.fastpath, seed: n.seed, roles: false },
  });
  try {
    if (n.kind === 'blocked') await silence(lab);
    else await mute(lab);
    if (n.kind === 'fragments') {
      for (const host of ends(lab)) await must(lab, host, ['sysctl', '-qw', 'net.ipv4.ip_no_pmtu_disc=1']);
      // A socket takes the setting when it is made.
      await lab.restartWebServers();
    }
    // By its route: a link with two MTUs would drop what the client sends, without a word.
    if (n.hop === 'client') {
      const over4 = ['192.0.2.0/24', 'dev', 'lan0', 'proto', 'kernel', 'scope', 'link', 'src', '192.0.2.1'];
      const over6 = ['2001:db8:1::/64', 'dev', 'lan0', 'proto', 'kernel', 'metric', '256'];
      const route = n.family === 6 ? ['-6', 'route', 'replace', ...over6] : ['route', 'replace', ...over4];
      await must(lab, 'gateway', ['ip', ...route, 'mtu', 'lock', String(n.mtu)]);
    }
    const { configuration, fastpath } = n;
    await lab.startRoles({ configuration, fastpath, race: 'learned', idle: ['r1', 'r3'] });
    if (n.kind !== 'blocked') await untilMute(lab);
    return await body(lab);
  } finally {
    await lab.down();
  }
}

/** The hosts that end connections. */
function ends(lab: Lab): string[] {
  return ['client', ...lab.topology.replicas, ...lab.topology.servers];
}

/** The routers of the WAN send no ICMP errors. */
async function silence(lab: Lab): Promise<void> {
  const rules = `table ip silent {
    chain output {
      type filter hook output priority 0
      icmp type { destination-unreachable, time-exceeded } drop
    }
  }`;
  await must(lab, 'wan', ['nft', '-f', '-'], rules);
}

/** The WAN drops the gateway's path probes, plain and in a tunnel. */
async function mute(lab: Lab): Promise<void> {
  const rules = `table ip mute {
    chain forward {
      type filter hook forward priority 0
      iifname "to-gateway" udp dport ${PORT} drop
      iifname "to-gateway" ip protocol 4 @th,72,8 17 drop
    }
  }`;
  await must(lab, 'wan', ['nft', '-f', '-'], rules);
}

/** Waits until the gateway has given up probing: until then connections announce a smaller MSS. */
async function untilMute(lab: Lab): Promise<void> {
  const isMute = async (): Promise<boolean> => {
    const answer = await askJson<{ paths: { machines: string[]; state: string }[] }>(
      lab.roles.adminSocket('gateway'),
      '/v1/paths',
    );
    return answer?.paths.some((p) => p.machines.includes(NEAREST) && p.state === 'mute') === true;
  };
  if (!(await waitUntil(isMute, 10_000, 100))) throw new Error('the path is not mute');
}

async function must(lab: Lab, host: string, argv: string[], input?: string): Promise<void> {
  const { status, stderr } = await lab.exec(host, argv, { input });
  if (status !== 0) throw new Error(`${host}: ${argv.join(' ')}: ${stderr}`);
}

export const TRANSFER_BYTES = 5 << 20;

/** Makes `count` transfers, some at a time. */
export async function transfers(lab: Lab, way: Way, count: number, atOnce: number): Promise<Transfer[]> {
  // Each host forgets the path MTUs that it has learned: a host that knows one announces a smaller MSS.
  for (const end of ends(lab))
    for (const family of lab.topology.ipv6 ? ['-4', '-6'] : ['-4'])
      await must(lab, end, ['ip', family, 'route', 'flush', 'cache']);
  const bytes = randomBytes(TRANSFER_BYTES);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const [host] = lab.topology.servers;
  const file = `${lab.webServer(host).blobDirectory}/narrow`;
  writeFileSync(file, bytes);
  const address = lab.topology.ipv6 ? SERVICE6.address : lab.topology.services[0].address;
  const numbers = [TRANSFER_BYTES, count, atOnce].map(String);
  const argv = [process.execPath, narrowClientScript, address, way, sha256, ...numbers, file];
  const child = lab.spawnIn('client', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const made: Transfer[] = [];
  for await (const line of createInterface({ input: child.stdout! })) {
    const t = JSON.parse(line) as Transfer;
    made.push(way === 'up' && t.error === '' ? { ...t, error: arrived(lab, t, sha256) } : t);
  }
  return made;
}

/** '' when the machine that served has the bytes that were sent. */
function arrived(lab: Lab, t: Transfer, sha256: string): string {
  const server = [...lab.webServers.values()].find((w) => w.servedBy === t.servedBy);
  if (server === undefined) return `served by '${t.servedBy}'`;
  const file = `${server.uploadDirectory}/narrow-${t.n}`;
  const got = createHash('sha256').update(readFileSync(file)).digest('hex');
  rmSync(file);
  return got === sha256 ? '' : 'other bytes';
}
