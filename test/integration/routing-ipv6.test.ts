// Service-level routing over IPv6 through real kernels, beside IPv4 of the same roles: client, two or three levels of routers,
// servers that answer directly.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askJson } from '../../src/lab/admin-client.js';
import { datagramsScript } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { ADVERTISE_TABLE } from '../../src/lab/routed/bird.js';
import type { Asked } from '../../src/lab/routed/datagrams-main.js';
import { RoutedLab } from '../../src/lab/routed/lab.js';
import { VIRTUAL, VIRTUAL6 } from '../../src/lab/routed/plan.js';
import { Survivors, together } from '../../src/lab/routed/survivors.js';

const DATAGRAM_PORT = 5353;
const BYTES = 3 << 20;
const URL = `http://[${VIRTUAL6}]`;
const curl = ['curl', '-sS', '-g', '--fail', '--noproxy', '*', '--max-time', '15'];

async function get(lab: RoutedLab, address = `[${VIRTUAL6}]`): Promise<string> {
  const { stdout } = await lab.exec('client', [...curl, `http://${address}/`]);
  return /served by (\S+)/.exec(stdout)?.[1] ?? '';
}

interface Flow {
  service: string;
  protocol: string;
  target: string;
  rule: string;
  isPinned: boolean;
  bytes: number;
}
/** What the router knows of flows over IPv6. */
const flowsOf = async (lab: RoutedLab, router: string): Promise<Flow[]> => {
  const answer = await askJson<{ flows: Flow[] }>(lab.adminSocket(router), '/v1/flows?limit=1000');
  return answer!.flows.filter((f) => f.service.startsWith(`[${VIRTUAL6}]`));
};
const totalOf = async (lab: RoutedLab, host: string, total: string): Promise<number> =>
  Number((await lab.status(host))!.fastpath?.[total] ?? 0);

/** Sends the same bytes to a server and gets them from one. */
async function carryBothWays(lab: RoutedLab): Promise<void> {
  const sent = randomBytes(BYTES);
  const file = `${lab.directory}/big`;
  writeFileSync(file, sent);
  for (const server of lab.webServers.values()) writeFileSync(`${server.blobDirectory}/big`, sent);
  const up = await lab.exec('client', [...curl, '-D', '-', '-T', file, `${URL}/upload/big`]);
  expect(up.stderr).toBe('');
  const server = /X-Served-By: (\S+)/.exec(up.stdout)![1];
  expect(readFileSync(`${lab.webServers.get(server)!.uploadDirectory}/big`).equals(sent)).toBe(true);
  const down = await lab.exec('client', [...curl, '-o', `${file}.got`, `${URL}/blob/big`]);
  expect(down.stderr).toBe('');
  expect(readFileSync(`${file}.got`).equals(sent)).toBe(true);
}

describe.each(['on', 'stack', 'off'] as const)('a virtual host of IPv6, fast path %s', (fastpath) => {
  const isPinned = fastpath !== 'off';
  let lab: RoutedLab;
  beforeAll(async () => {
    // In one of them a system's router stands between.
    const shape = { networks: 1, systems: fastpath === 'stack' ? 1 : 0, sites: 1, servers: 2 };
    lab = await RoutedLab.create({
      ...{ name: `r6-${fastpath}-${process.pid}`, shape, fastpath, intervalMs: 500, ipv6: true },
      edit: (host, file) => (host.level === 'network' ? { ...file, advertiseTable: ADVERTISE_TABLE } : file),
    });
  });
  afterAll(async () => {
    await lab?.down();
  });

  it('is served by every server, as that of IPv4 is', async () => {
    for (const address of [`[${VIRTUAL6}]`, VIRTUAL]) {
      const served = new Set<string>();
      const isEvery = async (): Promise<boolean> => {
        for (let n = 0; n < 10; n++) served.add(await get(lab, address));
        return served.has('s1') && served.has('s2');
      };
      expect(await waitUntil(isEvery, 20_000), address).toBe(true);
      expect(served, address).toEqual(new Set(['s1', 's2']));
    }
    const advertised = ['ip', '-6', 'route', 'show', 'table', String(ADVERTISE_TABLE)];
    const isAdvertised = async (): Promise<boolean> =>
      (await lab.exec('n1', advertised)).stdout.includes(`blackhole ${VIRTUAL6}`);
    expect(await waitUntil(isAdvertised, 5000)).toBe(true);
    const [client] = lab.webServers
      .get('s1')!
      .accessLog()
      .map((l) => l.client)
      .filter((c) => c.includes('2001'));
    expect(client).toMatch(/^2001:db8:1::2:\d+$/);
  });

  it('gets an upload by the shortcut, carried by the kernel where flows are pinned', async () => {
    const before = await Promise.all(['n1', 't1'].map((r) => totalOf(lab, r, 'out.bytes')));
    const atServers = async (): Promise<number> =>
      (await totalOf(lab, 's1', 'in.bytes')) + (await totalOf(lab, 's2', 'in.bytes'));
    const opened = await atServers();
    await carryBothWays(lab);
    const [large] = (await flowsOf(lab, 'n1')).sort((a, b) => b.bytes - a.bytes);
    const short = (await flowsOf(lab, 'n1')).filter((f) => f.rule.startsWith('a shortcut'));
    const servers = lab.servers.map(({ name }) => lab.address6(name));
    expect(short.length).toBeGreaterThan(0);
    for (const f of short) expect(servers).toContain(f.target);
    const after = await Promise.all(['n1', 't1'].map((r) => totalOf(lab, r, 'out.bytes')));
    if (isPinned) {
      expect(large).toMatchObject({ isPinned: true, rule: expect.stringContaining('a shortcut') });
      expect(after[0] - before[0]).toBeGreaterThan(BYTES);
      // Only what comes before the shortcut passes the lower router.
      expect(after[1] - before[1]).toBeLessThan(BYTES / 4);
      expect((await atServers()) - opened).toBeGreaterThan(BYTES);
    } else expect([after, large.isPinned]).toEqual([before, false]);
  });

  it('answers datagrams, each flow from one server', async () => {
    for (const { name } of lab.servers)
      lab.spawnIn(name, [process.execPath, datagramsScript, 'serve', VIRTUAL6, String(DATAGRAM_PORT), name]);
    const ask = async (): Promise<Asked> => {
      const argv = [process.execPath, datagramsScript, 'ask', VIRTUAL6, String(DATAGRAM_PORT)];
      return JSON.parse(await lab.mustExec('client', [...argv, '10', '5', '30'])) as Asked;
    };
    // The first datagrams may come before a server listens.
    expect(await waitUntil(async () => (await ask()).answered === 50, 15_000)).toBe(true);
    const asked = await ask();
    expect(asked).toMatchObject({ flows: 10, datagrams: 50, answered: 50, split: 0 });
    const flows = (await flowsOf(lab, 'n1')).filter((f) => f.protocol === 'udp');
    expect(flows.length).toBeGreaterThanOrEqual(10);
    if (isPinned) expect(flows.some((f) => f.isPinned)).toBe(true);
  });

  it('is explained by routes --flow, and its address on lo is not answered for', async () => {
    const [flow] = (await flowsOf(lab, 'n1')) as (Flow & { client: string })[];
    const query = new URLSearchParams({
      client: flow.client,
      service: flow.service,
      protocol: flow.protocol,
    });
    const answer = await askJson<{ flow: { target: string } }>(lab.adminSocket('n1'), `/v1/flow?${query}`);
    expect(answer!.flow.target).toBe(flow.target);
    await lab.mustExec('wan', ['ip', '-6', 'route', 'add', `${VIRTUAL6}/128`, 'dev', 'to-s1']);
    await lab.exec('wan', ['ping', '-6', '-c', '1', '-W', '1', VIRTUAL6]);
    const neighbours = await lab.mustExec('wan', ['ip', '-6', 'neigh', 'show', VIRTUAL6, 'dev', 'to-s1']);
    await lab.mustExec('wan', ['ip', '-6', 'route', 'del', `${VIRTUAL6}/128`, 'dev', 'to-s1']);
    expect(neighbours).not.toContain('lladdr');
  });

  // Without the kernel new connections wait for their routers, and what servers know of is not given back.
  if (isPinned) {
    it('keeps its connections, and takes new ones, when its routers are killed', async () => {
      const survivors = new Survivors(lab, VIRTUAL6);
      await survivors.open(20, 'active');
      const isCarried = async (): Promise<boolean> =>
        (await flowsOf(lab, 'n1')).filter((f) => f.isPinned && f.protocol === 'tcp').length >= 20;
      expect(await waitUntil(isCarried, 10_000)).toBe(true);
      const routers = lab.routers.map(({ name }) => name);
      await Promise.all(routers.map((r) => lab.kill(r)));
      // By their slots in the kernel.
      for (let n = 0; n < 5; n++) expect(await get(lab)).toMatch(/^s[12]$/);
      for (const router of routers) lab.start(router);
      await lab.untilReady();
      expect(together(await survivors.end())).toMatchObject({ connections: 20, broken: 0, split: 0 });
    });
  }

  it('leaves no rule and no hook behind', async () => {
    const tables = `ip -6 route show table ${ADVERTISE_TABLE}; ip -6 route show table all dev fsrt`;
    const script = `nft list ruleset; ip -6 rule; tc filter show dev wan0 ingress; ${tables}`;
    const listed = async (host: string): Promise<string> =>
      (await lab.exec(host, ['sh', '-c', script])).stdout;
    for (const host of ['n1', 's1']) {
      const before = await listed(host);
      expect(before).toMatch(/ip6 daddr[\s\S]*fwmark/);
      if (isPinned) expect(before).toMatch(/protocol ipv6[\s\S]*_in6/);
      await lab.stop(host);
      expect(await listed(host)).not.toMatch(/firstack|fwmark|_in6|blackhole|fsrt/);
    }
  });
});

describe('paths of 1,400 bytes to servers and 1,300 to the client, of which routers tell by "packet too big"', () => {
  it.each(['on', 'off'] as const)('fast path %s: transfers arrive whole, both ways', async (fastpath) => {
    const shape = { networks: 1, systems: 0, sites: 1, servers: 1 };
    const lab = await RoutedLab.create({
      ...{ name: `r6n-${fastpath}-${process.pid}`, shape, fastpath, intervalMs: 500, ipv6: true },
    });
    try {
      const narrow = (prefix: string, dev: string, mtu: number): Promise<string> => {
        const route = ['ip', '-6', 'route', 'replace', prefix, 'dev', dev, 'proto', 'kernel'];
        return lab.mustExec('wan', [...route, 'metric', '256', 'mtu', 'lock', String(mtu)]);
      };
      await narrow(lab.address6('s1').replace(/2$/, '/64'), 'to-s1', 1400);
      await narrow('2001:db8:1::/64', 'lan0', 1300);
      for (let n = 0; n < 3; n++) await carryBothWays(lab);
      const relayed = async (router: string): Promise<number> =>
        (await lab.status(router))!.counters['pass.error-relayed'] ?? 0;
      // About its tunnels to the client, and about the server's packets to the server.
      expect(await relayed('n1')).toBeGreaterThanOrEqual(2);
      expect(await get(lab)).toBe('s1');
    } finally {
      await lab.down();
    }
  });
});
