// Host configurations that the published method allows: a role on the client or on the web server itself; clients
// behind a LAN, behind several LANs or another router; several WAN interfaces, ports and instances of a role on one
// machine.
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { askJson, type RoleStatus } from '../../src/lab/admin-client.js';
import type { Lab } from '../../src/lab/lab.js';
import { CLIENT_ADDRESS, namespaceOf } from '../../src/lab/network.js';
import { cliScript } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { loadTopology } from '../../src/lab/topology.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

type File = Record<string, unknown>;

interface Instance {
  lab: Lab;
  socket: string;
  log: string;
  stop(): Promise<number | null>;
}

/** Starts a role that only this test uses on a host, and waits until it is ready and knows every replica that is up. */
async function startRole(
  lab: Lab,
  role: 'gateway' | 'origin',
  host: string,
  name: string,
  file: File,
  flags: string[],
): Promise<Instance> {
  const at = `${lab.directory}/${name}`;
  const socket = `${at}.sock`;
  const log = `${at}.log`;
  const instance = `lab-${lab.name}-${name}`;
  lab.state.record.instances.push(instance);
  lab.state.save();
  writeFileSync(`${at}.yaml`, stringify({ ...file, instance, admin: { listen: `unix:${socket}` } }));
  const command = [
    process.execPath,
    cliScript,
    role,
    '--config-file',
    `${at}.yaml`,
    '--registry',
    lab.roles.registryUrl,
  ];
  const shell = ['sh', '-c', `exec "$@" >${log} 2>&1`, 'sh', ...command, ...flags];
  const state = `FIRSTACK_STATE_DIR=${lab.directory}/events`;
  const environment = ['env', state, `FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`];
  const child = lab.spawnIn(host, [...environment, ...shell], { stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const ready = async () => {
    const status = await askJson<RoleStatus>(socket, '/v1/status');
    return status !== undefined && lab.topology.replicas.every((r) => status.applied.replicasUp.includes(r));
  };
  if (!(await waitUntil(ready, 15_000))) throw new Error(readFileSync(log, 'utf8').slice(-2000));
  return {
    lab,
    socket,
    log,
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

const fileOf = (lab: Lab, host: string): File =>
  parse(readFileSync(lab.roles.configFile(host), 'utf8')) as File;
const counters = async (i: Instance): Promise<Record<string, number>> =>
  (await askJson<RoleStatus>(i.socket, '/v1/status'))?.counters ?? {};

async function get(lab: Lab, host: string, url: string, ...options: string[]): Promise<string> {
  const o = await lab.exec(host, ['curl', '-s', '-m', '8', ...options, url]);
  return o.status === 0 ? o.stdout.trim() : `curl: ${o.status}`;
}
const page = (lab: Lab, ...options: string[]) => get(lab, 'client', 'http://203.0.113.10/', ...options);

async function ip(lab: Lab, host: string, ...lines: string[]): Promise<void> {
  for (const line of lines) {
    const o = await lab.exec(host, ['ip', ...line.split(' ')]);
    expect(o.stderr, line).toBe('');
  }
}

/** The file is large enough to be pinned, segmented and coalesced where that happens. */
async function transfers(lab: Lab): Promise<void> {
  const file = `${lab.webServer('r2').blobDirectory}/shape`;
  writeFileSync(file, Buffer.alloc(4 << 20, 'firstack'));
  const sum = (await lab.exec('client', ['sha256sum', file])).stdout.split(' ')[0];
  const down = await lab.exec('client', [
    'sh',
    '-c',
    'curl -s -m 20 http://203.0.113.10/blob/shape | sha256sum',
  ]);
  expect(down.stdout.split(' ')[0]).toBe(sum);
  const up = await lab.exec('client', [
    'curl',
    '-s',
    '-m',
    '20',
    '-T',
    file,
    'http://203.0.113.10/upload/shape',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
  ]);
  expect(up.stdout).toMatch(/^20[14]$/);
}

const noTrace = async (lab: Lab, host: string): Promise<void> => {
  expect((await lab.exec(host, ['nft', 'list', 'tables'])).stdout).not.toContain('firstack');
  const rules = (await lab.exec(host, ['ip', 'rule', 'show'])).stdout;
  expect(rules).toMatch(/^0:\s+from all lookup local/);
  expect(rules).not.toContain('fwmark');
};

describe.each(CONFIGURATIONS)('configuration %s', (configuration) => {
  it('the gateway on the client host itself', async () => {
    await withLab({ topology: 'replica-nearest', configuration, race: 'learned' }, async (lab) => {
      await lab.stopRole('gateway');
      await lab.exec('client', ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
      const early = (await lab.exec('client', ['sysctl', '-n', 'net.ipv4.tcp_early_demux'])).stdout;
      const file = { ...fileOf(lab, 'gateway'), lan: [], wan: ['lan0'], local: true };
      for (const race of ['learned', 'origin']) {
        const gateway = await startRole(lab, 'gateway', 'client', 'on-client', file, [
          '--race',
          race,
          '--configuration',
          configuration,
        ]);
        expect(await page(lab)).toBe('served by r2');
        await transfers(lab);
        expect(await page(lab)).toBe('served by r2');
        const counts = await counters(gateway);
        expect(counts['pass.won-by-replica']).toBeGreaterThanOrEqual(3);
        expect(counts['pass.to-replica']).toBeGreaterThan(10);
        expect(await gateway.stop()).toBe(0);
        await noTrace(lab, 'client');
        expect((await lab.exec('client', ['sysctl', '-n', 'net.ipv4.tcp_early_demux'])).stdout).toBe(early);
      }
      expect(await page(lab)).toBe('served by origin');
    });
  });

  it('the origin on the web server itself', async () => {
    await withLab({ topology: 'replica-nearest', configuration, race: 'origin' }, async (lab) => {
      await lab.stopRole('origin');
      await lab.exec('server', ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
      // O differs from S, because in configurations B and C the replicas have S themselves.
      await ip(lab, 'server', 'addr add 203.0.113.2/24 dev lan0');
      const file = { ...fileOf(lab, 'origin'), lan: [], wan: ['lan0'], address: '203.0.113.2', local: true };
      const origin = await startRole(lab, 'origin', 'server', 'on-server', file, [
        '--race',
        'origin',
        '--configuration',
        configuration,
      ]);
      const raced = async () => {
        const status = await askJson<RoleStatus>(origin.socket, '/v1/status');
        return (
          status?.candidates?.every((c) => c.distanceMs !== null) === true &&
          (await page(lab)) === 'served by r2'
        );
      };
      expect(await waitUntil(raced, 15_000)).toBe(true);
      for (let n = 0; n < 5; n++) expect(await page(lab)).toBe('served by r2');
      expect((await counters(origin))['tag.genuine']).toBeGreaterThanOrEqual(5);
      // Without replicas it serves requests itself, on its own stack.
      for (const r of lab.topology.replicas) await lab.stopRole(r);
      const alone = async () => (await page(lab)) === 'served by origin';
      expect(await waitUntil(alone, 10_000)).toBe(true);
      expect(await origin.stop()).toBe(0);
      await noTrace(lab, 'server');
      expect(await page(lab)).toBe('served by origin');
    });
  });
});

describe('clients', () => {
  it('behind another router, and on a second LAN, through one gateway with two WAN interfaces', async () => {
    const changes = { gateway: { lan: ['lan0', 'lan1'], wan: ['wan0', 'wan1'] } };
    await withLab({ topology: 'replica-nearest', configuration: 'A', roles: false }, async (lab) => {
      const gateway = namespaceOf(lab.name, 'gateway');
      // A second LAN, and an address behind another router.
      await ip(
        lab,
        'client',
        `link add lan1 type veth peer name lan1 netns ${gateway}`,
        'addr add 192.0.2.130/25 dev lan1',
        'link set lan1 up',
        'addr add 192.0.2.65/32 dev lo',
        'rule add from 192.0.2.130 lookup 200',
      );
      await ip(
        lab,
        'gateway',
        'addr add 192.0.2.129/25 dev lan1',
        'link set lan1 up',
        'route add 192.0.2.64/26 via 192.0.2.2',
      );
      await ip(lab, 'client', 'route add default via 192.0.2.129 table 200');
      // A second WAN interface, which leads to the nearest replica only; answers come back by the first.
      await ip(
        lab,
        'wan',
        `link add to-gateway1 type veth peer name wan1 netns ${gateway}`,
        'addr add 198.18.201.1/24 dev to-gateway1',
        'link set to-gateway1 up',
      );
      await ip(
        lab,
        'gateway',
        'addr add 198.18.201.2/24 dev wan1',
        'link set wan1 up',
        'route add 198.18.12.0/24 via 198.18.201.1',
      );
      await lab.startRoles({ configuration: 'A', race: 'learned', changes });
      for (const source of [CLIENT_ADDRESS, '192.0.2.65', '192.0.2.130'])
        for (let n = 0; n < 3; n++)
          expect(await page(lab, '--interface', source), source).toBe('served by r2');
      const shown = (await lab.exec('gateway', ['ip', '-s', '-j', 'link', 'show', 'wan1'])).stdout;
      const [link] = JSON.parse(shown) as { stats64: { tx: { packets: number } } }[];
      expect(link.stats64.tx.packets).toBeGreaterThan(20);
      await transfers(lab);
    });
  });

  it('of services on several ports other than 80, with several services per replica', async () => {
    const topology = {
      ...loadTopology('replica-nearest'),
      services: [
        { name: 'web', address: '203.0.113.10', ports: [8000, 8443], raceWindowMs: 500 },
        { name: 'api', address: '203.0.113.11', ports: [9000], raceWindowMs: 500 },
      ],
    };
    for (const configuration of CONFIGURATIONS)
      await withLab({ topology, roles: false }, async (lab) => {
        const services = [{ name: 'web' }, { name: 'api' }];
        const replica = { services };
        await lab.startRoles({
          configuration,
          race: 'learned',
          changes: { r1: replica, r2: replica, r3: replica },
        });
        for (const url of ['203.0.113.10:8000', '203.0.113.10:8443', '203.0.113.11:9000'])
          expect(await get(lab, 'client', `http://${url}/`), `${configuration} ${url}`).toBe('served by r2');
        const races = await lab.roles.races(3);
        expect(races.map((r) => r.service).sort()).toEqual(['api', 'web', 'web']);
      });
  });
});

describe('two instances of a role', () => {
  it('two gateways and two origins in one fleet, each pair on one machine', async () => {
    const topology = {
      ...loadTopology('replica-nearest'),
      services: [
        { name: 'web', address: '203.0.113.10', ports: [80], raceWindowMs: 500 },
        { name: 'api', address: '203.0.113.11', ports: [81], raceWindowMs: 500 },
      ],
    };
    await withLab({ topology, configuration: 'C', race: 'origin' }, async (lab) => {
      await lab.stopRole('gateway');
      await lab.stopRole('origin');
      const keys = [
        'keygen',
        '--from',
        `${lab.directory}/master.key`,
        '--gateway',
        '2',
        '--out',
        `${lab.directory}/gateway2.key`,
      ];
      expect((await lab.exec('gateway', [process.execPath, cliScript, ...keys])).status).toBe(0);
      await ip(lab, 'client', 'addr add 192.0.2.200/32 dev lo');
      await ip(lab, 'gateway', 'route add 192.0.2.128/25 via 192.0.2.2');
      await ip(lab, 'origin', 'addr add 198.18.2.3/24 dev wan0');

      const origin = fileOf(lab, 'origin');
      const [web, api] = origin.services as File[];
      // Two instances on one machine must not share interface names, marks and tables.
      const second = {
        mark: 0x00200000,
        tunnelMark: 0x00600000,
        pinnedMark: 0x00a00000,
        mask: 0x00f00000,
        table: 7501,
        tunnelTable: 8501,
        priority: 7501,
      };
      const flags = ['--race', 'origin', '--configuration', 'C'];
      const started = [
        await startRole(lab, 'origin', 'origin', 'origin-a', { ...origin, services: [web] }, flags),
        await startRole(
          lab,
          'origin',
          'origin',
          'origin-b',
          { ...origin, services: [api], address: '198.18.2.3', tun: { name: 'fsor-b' }, steering: second },
          flags,
        ),
      ];
      const gateway = fileOf(lab, 'gateway');
      started.push(
        await startRole(
          lab,
          'gateway',
          'gateway',
          'gateway-a',
          { ...gateway, prefixes: ['192.0.2.0/25'] },
          flags,
        ),
        await startRole(
          lab,
          'gateway',
          'gateway',
          'gateway-b',
          {
            ...gateway,
            prefixes: ['192.0.2.128/25'],
            tun: { name: 'fsgw-b' },
            tag: { gatewayId: 2, keyFile: `${lab.directory}/gateway2.key` },
            steering: second,
          },
          flags,
        ),
      );
      const all = async () => {
        const served: string[] = [];
        for (const source of [CLIENT_ADDRESS, '192.0.2.200'])
          for (const url of ['http://203.0.113.10/', 'http://203.0.113.11:81/'])
            served.push(await get(lab, 'client', url, '--interface', source));
        return served.join();
      };
      // The origins have measured the replicas, and all roles know each other.
      const wanted = Array.from({ length: 4 }, () => 'served by r2').join();
      expect(await waitUntil(async () => (await all()) === wanted, 15_000)).toBe(true);
      expect(await all()).toBe(wanted);
      const [a, b, ga, gb] = await Promise.all(started.map(counters));
      for (const c of [a, b]) expect(c['tag.genuine']).toBeGreaterThanOrEqual(4);
      for (const c of [ga, gb]) expect(c['pass.won-by-replica']).toBeGreaterThanOrEqual(4);

      // One instance of each pair stops, the other stays.
      expect(await started[2].stop()).toBe(0);
      expect(await get(lab, 'client', 'http://203.0.113.10/', '--interface', '192.0.2.200')).toBe(
        'served by r2',
      );
      expect(await page(lab, '--interface', CLIENT_ADDRESS)).toBe('served by origin');
      for (const i of [0, 1, 3]) expect(await started[i].stop()).toBe(0);
      await noTrace(lab, 'gateway');
      await noTrace(lab, 'origin');
    });
  });
});
