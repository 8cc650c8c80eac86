// Service-level routing through real kernels: client, routers of three levels, servers that answer directly.

import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, askJson } from '../../src/lab/admin-client.js';
import { pause, waitUntil } from '../../src/lab/process.js';
import { post } from '../../src/lab/routed/ask.js';
import { makeAuthority, makeCertificate, uriOf } from '../../src/lab/routed/certificates.js';
import { RoutedLab } from '../../src/lab/routed/lab.js';
import { ROUTED_CLIENT, VIRTUAL } from '../../src/lab/routed/plan.js';
import { sayHello } from '../../src/lab/routed/say-hello.js';

interface Routes {
  members: { id: string }[];
  hosts: { members: { id: string; share: number; leftOut: string }[] }[];
}
const routes = async (lab: RoutedLab, host: string): Promise<Routes> =>
  (await askJson<Routes>(lab.adminSocket(host), '/v1/routes'))!;
const shareOf = async (lab: RoutedLab, router: string, member: string): Promise<number> =>
  (await routes(lab, router)).hosts[0].members.find((m) => m.id === member)?.share ?? 0;

async function get(lab: RoutedLab): Promise<string> {
  const { stdout } = await lab.exec('client', ['curl', '-sS', '--max-time', '5', `http://${VIRTUAL}/`]);
  return /served by (\S+)/.exec(stdout)?.[1] ?? '';
}
const getMany = async (lab: RoutedLab, count: number): Promise<string[]> => {
  const all: string[] = [];
  for (let n = 0; n < count; n++) all.push(await get(lab));
  return all;
};

describe.each(['auto', 'stack', 'off'] as const)('one site, fast path %s', (fastpath) => {
  let lab: RoutedLab;
  beforeAll(async () => {
    const shape = { networks: 1, systems: 0, sites: 1, servers: 3 };
    lab = await RoutedLab.create({ name: `rt-${fastpath}-${process.pid}`, shape, fastpath, intervalMs: 500 });
  });
  afterAll(async () => {
    await lab?.down();
  });

  it('every server serves, and a large upload arrives', async () => {
    // On a busy machine a server may be silent for a moment, and out.
    const served = new Set<string>();
    const isEvery = async (): Promise<boolean> => {
      for (const name of await getMany(lab, 15)) served.add(name);
      return served.size >= 3;
    };
    await waitUntil(isEvery, 20_000);
    expect(served).toEqual(new Set(['s1', 's2', 's3']));
    writeFileSync(`${lab.directory}/big`, 'x'.repeat(5_000_000));
    const argv = ['curl', '-sS', '--max-time', '20', '-o', '/dev/null', '-w', '%{http_code} %{size_upload}'];
    const sent = await lab.exec('client', [
      ...argv,
      '-T',
      `${lab.directory}/big`,
      `http://${VIRTUAL}/upload/big`,
    ]);
    expect(sent.stdout).toMatch(/^20[14] 5000000$/);
  });

  it('lists its flows, and tells of its members in metrics', async () => {
    await get(lab);
    const answer = await askJson<{ flows: { client: string; member: string; isPinned: boolean }[] }>(
      lab.adminSocket('t1'),
      `/v1/flows?client=${ROUTED_CLIENT}&limit=3`,
    );
    expect(answer!.flows).not.toEqual([]);
    for (const f of answer!.flows) expect(`${f.client} ${f.member}`).toMatch(/^192\.0\.2\.2:\d+ s[123]$/);
    const ofStranger = await askJson(lab.adminSocket('t1'), '/v1/flows?member=s9');
    expect(ofStranger).toEqual({ flows: [] });
    const router = (await ask(lab.adminSocket('t1'), '/metrics'))!.body;
    expect(router).toMatch(/firstack_routing_member_share\{[^}]*member="s1"[^}]*\} 0\.3/);
    const server = (await ask(lab.adminSocket('s1'), '/metrics'))!.body;
    expect(server).toMatch(/firstack_server_routers\{[^}]*\} 1\b/);
  });

  it('a server that drains gets nothing new, and comes back', async () => {
    await post(lab, 's2', 'drain');
    expect(await waitUntil(async () => (await shareOf(lab, 't1', 's2')) === 0, 5000)).toBe(true);
    // The data plane has it within a duty.
    await pause(500);
    expect(await getMany(lab, 15)).not.toContain('s2');
    await post(lab, 's2', 'resume');
    expect(await waitUntil(async () => (await shareOf(lab, 't1', 's2')) > 0, 5000)).toBe(true);
  });

  it('a server whose role is killed is out after three intervals', async () => {
    await lab.kill('s3');
    expect(await waitUntil(async () => (await routes(lab, 't1')).members.length === 2, 5000)).toBe(true);
    expect(await getMany(lab, 10)).not.toContain('');
    lab.start('s3');
    expect(await waitUntil(async () => (await shareOf(lab, 't1', 's3')) > 0, 10_000)).toBe(true);
  });

  it('leaves no rule and no hook behind', async () => {
    await lab.stop('n1');
    const left = await lab.exec('n1', [
      'sh',
      '-c',
      'nft list ruleset; ip rule; tc filter show dev wan0 ingress',
    ]);
    expect(left.stdout).not.toMatch(/firstack|fwmark|slr_in/);
    lab.start('n1');
    await lab.untilReady();
    expect(await get(lab)).not.toBe('');
  });
});

describe('members', () => {
  let lab: RoutedLab;
  beforeAll(async () => {
    const shape = { networks: 1, systems: 0, sites: 1, servers: 2 };
    lab = await RoutedLab.create({ name: `rh-${process.pid}`, shape, intervalMs: 500 });
    await makeAuthority(lab.directory, 'other');
  });
  afterAll(async () => {
    await lab?.down();
  });

  const hello = (files: string | undefined, id: string): Promise<string> => sayHello(lab, files, id);

  it('with a certificate of the authority are welcome under their own name only', async () => {
    await lab.stop('s2');
    expect(await hello('s2', 's2')).toContain('"welcome"');
    expect(await hello('s2', 's1')).toBe('');
  });

  it.each([
    ['without a certificate', async () => undefined],
    [
      'with one of another authority',
      async () => {
        await makeCertificate(lab.directory, 'foreign', {
          uri: uriOf(lab.hosts, lab.host('s2')),
          authority: 'other',
        });
        return 'foreign';
      },
    ],
    [
      'with one that has expired',
      async () => {
        await makeCertificate(lab.directory, 'old', { uri: uriOf(lab.hosts, lab.host('s2')), days: -1 });
        return 'old';
      },
    ],
    [
      'with one that names no member',
      async () => {
        await makeCertificate(lab.directory, 'nameless', { uri: 'urn:other' });
        return 'nameless';
      },
    ],
    [
      'with one that covers no tunnel to them',
      async () => {
        const uri = `firstack:routing?id=s2&level=server&subnet=${VIRTUAL}/32&target=10.0.0.0/8`;
        await makeCertificate(lab.directory, 'elsewhere', { uri });
        return 'elsewhere';
      },
    ],
  ])('%s are refused', async (_, files) => {
    expect(await hello(await files(), 's2')).toBe('');
  });

  it('state what their certificate does not cover in vain', async () => {
    const uri = `firstack:routing?id=s2&level=server&subnet=198.51.100.0/24&target=${lab.address('s2')}/32`;
    await makeCertificate(lab.directory, 's2', { uri });
    lab.start('s2');
    expect(await waitUntil(async () => (await routes(lab, 't1')).members.length === 2, 10_000)).toBe(true);
    await pause(1500);
    expect((await routes(lab, 't1')).hosts[0].members.map((m) => m.id)).toEqual(['s1']);
    expect(await getMany(lab, 5)).toEqual(Array(5).fill('s1'));
  });
});
