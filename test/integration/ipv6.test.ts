// Connections over IPv6 in configuration A, through a gateway's own races, beside connections over IPv4 of the same
// roles: real kernels, curl and nginx.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askJson } from '../../src/lab/admin-client.js';
import { Lab } from '../../src/lab/lab.js';
import { CLIENT_ADDRESS6, SERVICE6 } from '../../src/lab/network.js';
import { cliScript } from '../../src/lab/paths.js';
import { waitUntil } from '../../src/lab/process.js';
import { type RequestResult, request, requestMany } from '../../src/lab/requests.js';
import { loadTopology } from '../../src/lab/topology.js';
import { freshName } from './lab-support.js';

const TOPOLOGY = { ...loadTopology('replica-nearest'), ipv6: true };
const many = (lab: Lab, n: number, family: 4 | 6): Promise<RequestResult[]> =>
  requestMany(lab, n, 4, undefined, family);
const errors = (all: readonly RequestResult[]): string[] => all.flatMap((r) => (r.ok ? [] : [r.error]));

/** Five megabytes up and down over IPv6, whole. @returns the machines that served */
async function carryBothWays(lab: Lab): Promise<string[]> {
  const bytes = randomBytes(5 << 20);
  const sha = createHash('sha256').update(bytes).digest('hex');
  const url = `http://[${SERVICE6.address}]`;
  const file = `${lab.directory}/big`;
  writeFileSync(file, bytes);
  for (const server of lab.webServers.values()) writeFileSync(`${server.blobDirectory}/big`, bytes);
  const curl = (...args: string[]) =>
    lab.exec('client', ['curl', '-sS', '--fail', '--noproxy', '*', '--max-time', '30', '-D', '-', ...args]);
  // Up first: a server that has learned of a narrow path down announces a smaller MSS.
  const up = await curl('-T', file, `${url}/upload/big`);
  expect(up.stderr).toBe('');
  const down = await curl('-o', `${file}.got`, `${url}/blob/big`);
  expect(down.stderr).toBe('');
  expect(
    createHash('sha256')
      .update(readFileSync(`${file}.got`))
      .digest('hex'),
  ).toBe(sha);
  const [from, to] = [down, up].map((o) => /X-Served-By: (\S+)/.exec(o.stdout)![1]);
  const arrived = readFileSync(`${lab.webServer(to === 'origin' ? 'server' : to).uploadDirectory}/big`);
  expect(createHash('sha256').update(arrived).digest('hex')).toBe(sha);
  return [from, to];
}

describe.each([
  ['A', 'learned', 'auto'],
  ['A', 'gateway', 'off'],
  ['A', 'gateway', 'stack'],
  ['C', 'learned', 'auto'],
] as const)('configuration %s, race %s, fast path %s', (configuration, race, fastpath) => {
  const isPinned = configuration === 'A' && fastpath !== 'off';
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create({ name: freshName(), seed: 1, topology: TOPOLOGY, configuration, race, fastpath });
  });
  afterAll(() => lab?.down());

  it('the nearest replica carries connections over IPv6, as it does over IPv4', async () => {
    for (const family of [6, 4] as const) {
      const all = await many(lab, 40, family);
      expect(errors(all)).toEqual([]);
      expect(all.filter((r) => r.servedBy === 'r2').length).toBeGreaterThanOrEqual(36);
    }
    const seen = lab
      .webServer('r2')
      .accessLog()
      .filter((l) => l.client.includes('2001:db8:1::2'));
    expect(seen.length).toBeGreaterThanOrEqual(36);
    if (configuration === 'C') expect(await lab.roles.counter('r2', 'pass.syn-cracked')).toBeGreaterThan(36);
  });

  it('losers are reset with their exact numbers: no machine keeps a half-open connection', async () => {
    const halfOpen = async (host: string): Promise<number> =>
      Number((await lab.exec(host, ['sh', '-c', 'ss -6Htn state syn-recv | wc -l'])).stdout);
    await many(lab, 10, 6);
    for (const host of ['r1', 'r3', 'server'])
      expect(await waitUntil(async () => (await halfOpen(host)) === 0, 3000, 100), host).toBe(true);
  });

  it('carries five megabytes each way intact, in the kernel where flows are pinned', async () => {
    const carried = async (): Promise<number[]> => {
      const status = await lab.roles.status('gateway');
      const kernel = (status as unknown as { fastpath: Record<string, number> }).fastpath;
      return [kernel['in.bytes'] ?? 0, kernel['out.bytes'] ?? 0];
    };
    const before = await carried();
    await carryBothWays(lab);
    const after = await carried();
    for (const [k, bytes] of after.entries())
      if (!isPinned) expect(bytes - before[k]).toBe(0);
      else expect(bytes - before[k]).toBeGreaterThan(5 << 20);
    const ask = ['flows', '--client', CLIENT_ADDRESS6, '--lab', lab.name, '--json'];
    const flows = JSON.parse((await lab.exec('gateway', [process.execPath, cliScript, ...ask])).stdout);
    const large = flows.filter((f: { bytes: number }) => f.bytes > 5 << 20);
    expect(large).toHaveLength(2);
    for (const f of large) expect(f).toMatchObject({ service: 'web6', pinned: isPinned });
  });

  it('a dead machine makes no connection fail', async () => {
    await lab.webServer('r2').kill();
    const all = await many(lab, 20, 6);
    expect(errors(all)).toEqual([]);
    expect(all.map((r) => r.servedBy)).not.toContain('r2');
    await lab.webServer('r2').start();
    const isBack = async () => (await request(lab, '/', 6)).servedBy === 'r2';
    expect(await waitUntil(isBack, 20_000, 200)).toBe(true);
  });

  it('is told in races, flows and what was learned', async () => {
    const ask = (...words: string[]) =>
      lab.exec('gateway', [process.execPath, cliScript, ...words, '--lab', lab.name, '--json']);
    await many(lab, 3, 6);
    const races = (await ask('races', '--last', '3')).stdout.trim().split('\n');
    expect(JSON.parse(races[0]).client).toMatch(/^\[2001:db8:1::2\]:\d+$/);
    const flows = JSON.parse((await ask('flows', '--client', CLIENT_ADDRESS6)).stdout);
    expect(flows[0]).toMatchObject({ service: 'web6', pinned: isPinned });
    if (race !== 'learned') return;
    const { proximity } = (await askJson<{ proximity: { service: string; prefix: string }[] }>(
      lab.roles.adminSocket('gateway'),
      '/v1/proximity',
    ))!;
    expect(proximity.find((p) => p.service === 'web6')!.prefix).toBe('2001:db8:1::/48');
  });

  it('leaves no rule and no hook behind', async () => {
    const listed = async () => (await lab.exec('gateway', ['ip', '-6', 'rule', 'show'])).stdout;
    const hooks = async () =>
      (await lab.exec('gateway', ['tc', 'filter', 'show', 'dev', 'wan0', 'ingress'])).stdout;
    expect(await listed()).toContain('fwmark');
    if (isPinned) expect(await hooks()).toContain('protocol ipv6');
    const rules = async () => (await lab.exec('r2', ['ip', '-6', 'rule', 'show'])).stdout;
    if (configuration === 'C')
      expect(await rules()).toMatch(/^5:.*fwmark[\s\S]*^10:\tfrom all lookup local/m);
    if (configuration === 'C') {
      const rule = ['from', SERVICE6.address, 'iif', 'lo', 'ipproto', 'tcp', 'sport', '80'];
      expect((await lab.exec('r2', ['ip', '-6', 'rule', 'del', ...rule])).stderr).toBe('');
      const isBack = async () => (await rules()).includes(`from ${SERVICE6.address}`);
      expect(await waitUntil(isBack, 5000), 'put back').toBe(true);
    }
    await Promise.all([lab.stopRole('gateway'), lab.stopRole('r2')]);
    expect(await listed()).not.toContain('fwmark');
    expect(await hooks()).toBe('');
    expect(await rules()).toMatch(/^0:\tfrom all lookup local\s+32766:\tfrom all lookup main\s*$/);
    // Without a gateway the origin's server answers.
    expect((await request(lab, '/', 6)).servedBy).toBe('origin');
  });
});

describe('a hop of 1,400 bytes, of which routers tell by "packet too big"', () => {
  const narrow = { 'gateway>r2': { mtu: 1400 }, 'r2>gateway': { mtu: 1400 } };
  it.each([
    ['A', 'wan'],
    ['A', 'client'],
    ['C', 'wan'],
    ['C', 'client'],
  ] as const)('configuration %s, %s: transfers arrive whole', async (configuration, hop) => {
    const topology = { ...TOPOLOGY, paths: hop === 'wan' ? narrow : {} };
    const lab = await Lab.create({
      name: freshName(),
      seed: 1,
      topology,
      configuration,
      race: 'learned',
      idle: ['r1', 'r3'],
    });
    try {
      if (hop === 'client') {
        const route = ['ip', '-6', 'route', 'replace', '2001:db8:1::/64', 'dev', 'lan0', 'proto', 'kernel'];
        await lab.exec('gateway', [...route, 'metric', '256', 'mtu', 'lock', '1400']);
      }
      await many(lab, 4, 6);
      const relayed = () => lab.roles.counter('gateway', 'pass.icmp-relayed');
      // Where this machine is busy, the origin serves now and then, whose path is not narrow.
      for (let n = 0; n < 3 || ((await relayed()) === 0 && n < 8); n++) await carryBothWays(lab);
      expect(await relayed()).toBeGreaterThan(0);
    } finally {
      await lab.down();
    }
  });
});
