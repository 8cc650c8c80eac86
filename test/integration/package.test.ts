// The package and the operator's guide, followed exactly: bare Debian roots, one per host, each booted with its own
// systemd in the laboratory's network; every command of deploy/README.md is run on the host that the guide names.
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RoleStatus } from '../../src/lab/admin-client.js';
import { Lab } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/network.js';
import { packageRoot } from '../../src/lab/paths.js';
import { inNamespace, mustRun, type Output, run, waitUntil } from '../../src/lab/process.js';
import { loadTopology, type Topology } from '../../src/lab/topology.js';
import { type Guest, Roots } from './guests.js';
import { type Block, readGuide } from './guide.js';

const UNITS = {
  gateway: 'firstack-gateway@gw1',
  origin: 'firstack-origin@origin1',
  r1: 'firstack-replica@r1',
  r2: 'firstack-replica@r2',
} as const;
type Host = keyof typeof UNITS;
const HOSTS = Object.keys(UNITS) as Host[];
/** CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF. */
const CAPABILITIES = ((1n << 12n) | (1n << 38n) | (1n << 39n)).toString(16).padStart(16, '0');
const NEAREST = 'r2';
/** The default topology, with the guide's two replicas. */
function topology(): Topology {
  const all = loadTopology();
  const replicas = all.replicas.filter((r) => r in UNITS);
  return { ...all, replicas, wanHosts: ['gateway', 'origin', ...replicas] };
}

const blocks = readGuide(`${packageRoot}/deploy/README.md`);
const guests = {} as Record<Host, Guest>;
const done = new Set<Block>();
let roots: Roots;
let lab: Lab;
let deb: string;
const makePackage = async () =>
  `${packageRoot}/${(await mustRun(['npm', 'run', '-s', '--prefix', packageRoot, 'package'])).trim()}`;
const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

/** The operator's machine is this one, in the clients' network: its checkout, with a separate ssh configuration. */
async function asOperator(script: string): Promise<Output> {
  const { directory } = roots;
  const env = ['env', `HOME=${directory}/operator`, `PATH=${directory}/operator/bin:${process.env.PATH}`];
  const text = `cd ${packageRoot} && set -e\n${script}`;
  return run(inNamespace(namespaceOf(lab.name, 'client'), [...env, 'sh', '-c', text]), { timeoutMs: 90_000 });
}

async function runOn(host: string, script: string): Promise<Output> {
  if (host === 'operator') return asOperator(script);
  if (host === 'client') return lab.exec('client', ['sh', '-c', `set -e\n${script}`], { timeoutMs: 30_000 });
  return guests[host as Host].run(script);
}

/**
 * Runs every block of a section of the guide, in order. Commands for several hosts run at the same time, unless a
 * check follows each of them.
 * @returns the output of each
 */
async function follow(section: string, between?: () => Promise<void>): Promise<string[]> {
  const said: string[] = [];
  for (const block of blocks.filter((b) => b.section === section)) {
    const one = async (host: string): Promise<void> => {
      const { status, stdout, stderr } = await runOn(host, block.script);
      expect(status, `line ${block.line}, on ${host}: ${stdout}${stderr}`).toBe(0);
      said.push(stdout);
    };
    if (between === undefined) await Promise.all(block.hosts.map(one));
    else for (const host of block.hosts) await one(host).then(between);
    done.add(block);
  }
  expect(said.length, section).toBeGreaterThan(0);
  return said;
}

async function prepareOperator(): Promise<string> {
  const home = `${roots.directory}/operator`;
  const key = `${home}/.ssh/id`;
  await mustRun(['mkdir', '-p', `${home}/bin`, `${home}/.ssh`]);
  await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const config = [
    `IdentityFile ${key}`,
    'IdentitiesOnly yes',
    'StrictHostKeyChecking accept-new',
    `UserKnownHostsFile ${home}/.ssh/known_hosts`,
  ];
  writeFileSync(`${home}/.ssh/config`, `${config.join('\n')}\n`);
  // ssh looks for its configuration in the account's home directory, whatever HOME says.
  writeFileSync(`${home}/bin/scp`, `#!/bin/sh\nexec /usr/bin/scp -q -F ${home}/.ssh/config "$@"\n`, {
    mode: 0o755,
  });
  return `${key}.pub`;
}

beforeAll(async () => {
  roots = new Roots();
  const publicKey = await prepareOperator();
  deb = await makePackage();
  await roots.make(deb, ['redis-server'], publicKey);
  lab = await Lab.create({ name: `pkg-${process.pid}`, topology: topology(), roles: false, seed: 1 });
  await Promise.all(HOSTS.map(async (h) => (guests[h] = await roots.boot(lab, h))));
}, 400_000);

afterAll(async () => {
  await roots?.remove();
  await lab?.down();
}, 60_000);

describe('the package', () => {
  it('holds everything and nothing else, owned by root, and the same sources make the same bytes', async () => {
    const list = (await mustRun(['dpkg-deb', '-c', deb])).trim().split('\n');
    const files = list.map((l) => l.split(/\s+/)[5].replace(/^\./, ''));
    for (const file of [
      '/usr/bin/firstack',
      '/usr/lib/firstack/bin/node',
      '/usr/lib/firstack/dist/native/tun.node',
      '/usr/lib/firstack/dist/bpf/race.bpf.o',
      '/usr/lib/firstack/node_modules/ioredis/package.json',
      '/usr/share/doc/firstack/examples/gateway.yaml',
      ...['gateway', 'origin', 'replica'].map((r) => `/lib/systemd/system/firstack-${r}@.service`),
    ])
      expect(files).toContain(file);
    expect(
      files.filter((f) => /node_modules\/(@biomejs|typescript|vitest|fast-check)\/|\.map$/.test(f)),
    ).toEqual([]);
    expect(list.filter((l) => !/^[d-]rw[x-]r-[x-]r-[x-] root\/root /.test(l))).toEqual([]);
    const first = digest(deb);
    rmSync(deb);
    await follow('Make the package');
    expect(digest(deb)).toBe(first);
  });

  it('is installed on bare hosts without npm or a compiler, and starts nothing', async () => {
    await follow('Make keys and files');
    for (const host of HOSTS) {
      const { stdout } = await guests[host].run('command -v node npm gcc cc make clang || true');
      expect(stdout).toBe('');
    }
    await follow('Install');
    for (const host of HOSTS) {
      expect(await guests[host].must("systemctl list-units --all --plain --no-legend 'firstack-*@*'")).toBe(
        '',
      );
      expect((await guests[host].must('stat -c %U:%G:%a /etc/firstack')).trim()).toBe('root:firstack:750');
    }
  });

  it('has units in which systemd-analyze finds no problem', async () => {
    for (const unit of Object.values(UNITS)) {
      const { status, stdout, stderr } = await guests.gateway.run(`systemd-analyze verify ${unit}.service`);
      expect([unit, status, stdout, stderr]).toEqual([unit, 0, '', '']);
      // Out of 100; an ordinary service has 96.
      await guests.gateway.must(
        `systemd-analyze security --no-pager --offline=true --threshold=30 ${unit}.service`,
      );
    }
  });
});

const gatewayDoctor = () => guests.gateway.run('firstack doctor');

describe("the operator's guide", () => {
  it('leads to a first connection that the nearest replica carries', async () => {
    await follow('Redis, on the origin');
    await follow('Start');
    const [page, why] = await follow('The first raced connection');
    expect(page).toContain(`X-Served-By: ${NEAREST}`);
    expect(why).toContain(`decided: ${NEAREST}:`);
  });

  it('runs the roles as their own user, with three capabilities, and the kernel carries their flows', async () => {
    for (const host of HOSTS) {
      const guest = guests[host];
      const pid = await guest.show(UNITS[host], 'MainPID');
      expect((await guest.must(`ps -o user= -p ${pid}`)).trim()).toBe('firstack');
      const status = await guest.must(`cat /proc/${pid}/status`);
      for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapAmb'])
        expect(status).toContain(`${set}:\t${CAPABILITIES}`);
      expect(status).toContain('NoNewPrivs:\t1');
    }
    for (const host of ['gateway', 'r1', 'r2'] as const)
      expect(await guests[host].show(UNITS[host], 'StatusText')).toContain('fastpath on');
  });

  it('lets a role write its own records only', async () => {
    const secret = (
      await guests.gateway.must("sed -n 's/.*gateway:\\(.*\\)@.*/\\1/p' /etc/firstack/gw1.yaml")
    ).trim();
    const redis = (words: string) =>
      guests.origin.run(`redis-cli --no-auth-warning --user gateway --pass ${secret} ${words}`);
    expect((await redis('keys "*"')).stdout).toContain('NOPERM');
    expect((await redis('del firstack:v1:replica:r1')).stdout).toContain('NOPERM');
    expect((await redis('mget firstack:v1:replica:r1')).stdout).not.toContain('NOPERM');
    expect((await guests.origin.run('redis-cli ping')).stdout).toContain('NOAUTH');
  });

  it('has the daily tasks, and a broken configuration does not affect other instances', async () => {
    const { gateway } = guests;
    const before = await gateway.show(UNITS.gateway, 'MainPID');
    await follow('Day by day');
    expect(await gateway.show(UNITS.gateway, 'MainPID')).not.toBe(before);
    expect(await gateway.show(UNITS.gateway, 'NRestarts')).toBe('1');
    await gateway.must('echo "instance: bad" >/etc/firstack/bad.yaml; chgrp firstack /etc/firstack/bad.yaml');
    const { status } = await gateway.run('systemctl start firstack-gateway@bad');
    expect(status).not.toBe(0);
    const left = () => gateway.show('firstack-gateway@bad', 'ActiveState,SubState,ExecMainStatus,NRestarts');
    expect((await left()).split('\n').sort()).toEqual(['0', '78', 'failed', 'failed']);
    // While the registry is unavailable systemd restarts the role, until it succeeds.
    await guests.r1.must('systemctl stop firstack-replica@r1');
    await guests.origin.must('systemctl stop redis-server');
    await guests.r1.must('systemctl start --no-block firstack-replica@r1');
    const tried = async () => Number(await guests.r1.show(UNITS.r1, 'NRestarts')) >= 2;
    expect(await waitUntil(tried, 60_000, 200)).toBe(true);
    await guests.origin.must('systemctl start redis-server');
    const active = async () => (await guests.r1.show(UNITS.r1, 'ActiveState')) === 'active';
    expect(await waitUntil(active, 60_000, 200)).toBe(true);
    const whole = async () =>
      (await gateway.show(UNITS.gateway, 'StatusText')).includes('replicas up 2 of 2');
    expect(await waitUntil(whole, 60_000, 200)).toBe(true);
  });

  it("answers a newcomer's questions, and finds nothing wrong", async () => {
    const page = async () =>
      (await lab.exec('client', ['curl', '-s', '--max-time', '20', 'http://203.0.113.10/'])).stdout;
    await page();
    const isWhole = async () => (await gatewayDoctor()).status === 0;
    expect(await waitUntil(isWhole, 30_000, 500), JSON.stringify(await gatewayDoctor())).toBe(true);
    const said = (await follow('When it does not work')).join('\n');
    expect(said).toContain('nothing is wrong');
    expect(said).toContain('r2: inactive (drained: its last connection has ended)');
    expect(said).toMatch(/gateway +gw1 +ready/);
    // The replica that was drained is raced again.
    expect(await waitUntil(async () => (await page()) === `served by ${NEAREST}\n`, 30_000, 200)).toBe(true);
  });

  it('is upgraded while a connection continues', async () => {
    const body = Buffer.alloc(8 << 20, 'firstack');
    writeFileSync(`${lab.webServer(NEAREST).blobDirectory}/upgrade`, body);
    const script = new URL('../support/keep-alive.mjs', import.meta.url).pathname;
    const { address } = lab.topology.services[0];
    const child = lab.spawnIn('client', [process.execPath, script, address], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const ask = async (path: string) => {
      child.stdin!.write(`${path}\n`);
      return JSON.parse((await lines.next()).value as string);
    };
    const first = await ask('/');
    expect(first.servedBy).toBe(NEAREST);
    const again = async () => {
      expect(await ask('/')).toEqual(first);
    };
    const before = await Promise.all(HOSTS.map((h) => guests[h].show(UNITS[h], 'MainPID')));
    await follow('Upgrade', again);
    const after = await Promise.all(HOSTS.map((h) => guests[h].show(UNITS[h], 'MainPID')));
    after.forEach((pid, i) => {
      expect(pid).not.toBe(before[i]);
    });
    expect(await ask('/blob/upgrade')).toEqual({
      ...first,
      bytes: body.length,
      sha256: createHash('sha256').update(body).digest('hex'),
    });
    child.stdin!.end();
  });

  it('has all rights that configuration C needs', async () => {
    const { address } = lab.topology.services[0];
    for (const host of ['r1', 'r2'] as const)
      await guests[host].must(`ip address add ${address}/32 dev lo; sysctl -w net.ipv4.ip_forward=1`);
    for (const host of ['origin', 'r1', 'r2', 'gateway'] as const)
      await guests[host].must(
        `sed -i 's/^configuration: A/configuration: C/' /etc/firstack/*.yaml; systemctl restart ${UNITS[host]}`,
      );
    // Waits before the first race, so that it asks both replicas.
    const whole = async () =>
      (await guests.gateway.show(UNITS.gateway, 'StatusText')).includes('replicas up 2 of 2');
    expect(await waitUntil(whole, 60_000, 200)).toBe(true);
    // In configuration C the gateway's SYNs are tagged; a replica that does not know the gateway yet would refuse
    // them.
    for (const host of ['r1', 'r2'] as const) {
      const known = async () => {
        const where = `{socketPath: '/run/firstack/admin.d/replica-${host}.sock', path: '/v1/status'}`;
        const script = `require('http').get(${where}, (answer) => answer.pipe(process.stdout))`;
        const status = await guests[host].must(`/usr/lib/firstack/bin/node -e "${script}"`);
        return (JSON.parse(status) as RoleStatus).applied.gateways.length === 1;
      };
      expect(await waitUntil(known, 60_000, 200)).toBe(true);
    }
    const page = await lab.exec('client', ['curl', '-sS', '--max-time', '20', `http://${address}/`]);
    const races = await guests.gateway.must('firstack races; firstack explain last');
    expect(page.stdout, `${page.stderr}${races}`).toBe(`served by ${NEAREST}\n`);
    expect(await guests.gateway.must('firstack explain last')).toContain('configuration C');
    for (const host of ['gateway', 'r1', 'r2'] as const)
      expect(await guests[host].show(UNITS[host], 'StatusText')).toContain('fastpath on');
  });

  it('is uninstalled without leaving anything', async () => {
    await follow('Uninstall');
    for (const host of HOSTS) {
      const left = await guests[host].must(
        "nft list tables; ip rule | grep -E '74[0-9]{2}|fwmark' || true; ls -d /run/firstack /sys/fs/bpf/firstack " +
          '/etc/firstack /usr/lib/firstack 2>/dev/null || true; getent passwd firstack || true; ' +
          'find /etc/systemd/system -name "firstack*"; ip -o link | grep fs[gor] || true',
      );
      expect([host, left]).toEqual([host, '']);
    }
    const page = await lab.exec('client', ['curl', '-s', `http://${lab.topology.services[0].address}/`]);
    expect(page.stdout).toBe('served by origin\n');
  });

  it('has only commands that were run here', () => {
    expect(blocks.filter((b) => !done.has(b)).map((b) => b.line)).toEqual([]);
  });
});
