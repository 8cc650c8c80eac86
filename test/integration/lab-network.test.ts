/** The laboratory without roles: real namespaces, the real emulator, real nginx and Redis. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, it, onTestFinished } from 'vitest';
import { calibrate, TOLERANCE_MS } from '../../src/lab/calibrate.js';
import { labDown, labExec } from '../../src/lab/commands.js';
import { Lab } from '../../src/lab/lab.js';
import { namespaceOf, wanAddress, within } from '../../src/lab/network.js';
import { labRoot, packageRoot } from '../../src/lab/paths.js';
import { isAlive, pause, waitUntil } from '../../src/lab/process.js';
import { halfOpen, request } from '../../src/lab/requests.js';
import { LabState } from '../../src/lab/state.js';
import { knownTopologies } from '../../src/lab/topology.js';
import { freshName, withLab } from './lab-support.js';

const bare = { roles: false };
const SLOW = 60_000;

/** What a laboratory of this name has on the machine, outside its own record. */
function traces(name: string): string[] {
  const namespaces = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  const states = existsSync(labRoot) ? readdirSync(labRoot) : [];
  return [
    ...namespaces.filter((n) => n.startsWith(`fs-${name}-`)),
    ...states.filter((d) => d.includes(name)),
    ...commandsNaming(`${labRoot}/${name}/`),
  ];
}

function commandsNaming(text: string): string[] {
  return readdirSync('/proc')
    .filter((p) => /^\d+$/.test(p))
    .map((p) => {
      try {
        return readFileSync(`/proc/${p}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((command) => command.includes(text));
}

/** The machine's own namespace, which no laboratory may change. */
function machine(): string {
  const sysctls = ['ip_forward', 'conf/all/rp_filter', 'conf/default/rp_filter', 'conf/default/accept_local'];
  return [
    ...['dev', 'route', 'fib_trie'].map((f) =>
      readFileSync(`/proc/thread-self/net/${f}`, 'utf8')
        // Counters go on.
        .replace(/^( *\w+:).*$/gm, '$1'),
    ),
    ...sysctls.map((s) => readFileSync(`/proc/sys/net/ipv4/${s}`, 'utf8')),
  ].join('\n');
}

/** A process that brings a laboratory up from the build and then does as told. */
async function ownerProcess(name: string, then: string, uid?: number): Promise<[ChildProcess, string]> {
  const script = `
    const { Lab } = await import('${packageRoot}/dist/src/lab/lab.js');
    const { describeError } = await import('${packageRoot}/dist/src/errors.js');
    try {
      const lab = await Lab.create({ name: '${name}', roles: false });
      console.log('up');
      ${then}
    } catch (error) {
      console.log(describeError(error).join('\\n'));
      process.exitCode = error.exitCode;
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    // What an uncaught exception prints is of no interest here.
    stdio: ['ignore', 'pipe', 'ignore'],
    uid,
  });
  const [first] = await once(child.stdout as NodeJS.ReadableStream, 'data');
  return [child, String(first).trim()];
}

const WAIT = 'setInterval(() => {}, 1000);';

describe('the WAN', () => {
  it.each(knownTopologies())(
    'has the delays that %s asks for, in each direction',
    async (topology) => {
      await withLab({ ...bare, topology }, async (lab) => {
        const { calibrated, paths } = await calibrate(lab.name, lab.topology);
        expect(paths).toHaveLength(20);
        for (const p of paths) {
          expect(Math.abs((p.measuredMs ?? Infinity) - p.askedMs), p.path).toBeLessThanOrEqual(TOLERANCE_MS);
        }
        expect(calibrated).toBe(true);
      });
    },
    SLOW,
  );

  it(
    'notices a path that is not as it was asked, and takes a change while it runs',
    async () => {
      await withLab(bare, async (lab) => {
        await lab.wan.setPath('r2>gateway', { delayMs: 25 });
        const { calibrated, paths } = await calibrate(lab.name, lab.topology);
        expect(calibrated).toBe(false);
        const changed = paths.find((p) => p.path === 'r2>gateway');
        expect(Math.abs((changed?.measuredMs ?? 0) - 25)).toBeLessThanOrEqual(TOLERANCE_MS);
      });
    },
    SLOW,
  );

  it(
    'keeps the order of a burst under jitter',
    async () => {
      await withLab(bare, async (lab) => {
        await lab.wan.setPath('gateway>r1', { delayMs: 5, jitterMs: 40 });
        const marks = await burst(lab, 'gateway', 'r1', 500);
        expect(marks).toEqual(Array.from({ length: 500 }, (_, n) => n));
        await lab.wan.setPath('gateway>r1', { delayMs: 5, jitterMs: 40, reorder: true });
        const loose = await burst(lab, 'gateway', 'r1', 500);
        expect(loose).toHaveLength(500);
        expect(loose).not.toEqual(marks);
      });
    },
    SLOW,
  );

  it(
    'loses what it is told to lose, and counts it',
    async () => {
      await withLab(bare, async (lab) => {
        await lab.wan.setPath('gateway>r1', { delayMs: 1, lossPct: 40 });
        const marks = await burst(lab, 'gateway', 'r1', 500);
        const { lost, packets, released, unroutable } = await lab.wanStatistics();
        expect(marks.length + lost).toBe(500);
        expect(lost).toBeGreaterThan(100);
        expect(released + lost + unroutable).toBe(packets);
      });
    },
    SLOW,
  );

  it(
    'delays a packet by where it comes from, not by the source address it bears',
    async () => {
      await withLab(bare, async (lab) => {
        // r3 holds the service's address and sends as it, as under configuration B. Its own way is held up
        // for longer than anybody waits, the origin's is not.
        await lab.exec('r3', ['ip', 'addr', 'add', '203.0.113.10/32', 'dev', 'lo']);
        await lab.wan.setPath('r3>gateway', { delayMs: 9000 });
        const ping = ['ping', '-c', '1', '-W', '1', '-I', '203.0.113.10', '192.0.2.2'];
        await lab.exec('r3', ping);
        expect((await lab.wanStatistics()).held).toBe(1);
        expect((await lab.exec('server', ping)).status).toBe(0);
      });
    },
    SLOW,
  );

  it(
    'answers "fragmentation needed" on a narrow path, and fragments where it may',
    async () => {
      const file = `${packageRoot}/src/lab/topologies/replica-nearest.yaml`;
      const directory = mkdtempSync(`${tmpdir()}/firstack-lab-`);
      onTestFinished(() => rmSync(directory, { recursive: true }));
      const topology = `${directory}/narrow.yaml`;
      writeFileSync(topology, `${readFileSync(file, 'utf8')}paths: {"gateway>r1": {mtu: 1400}}\n`);
      await withLab({ ...bare, topology }, async (lab) => {
        const ping = (df: string, to: string) =>
          lab.exec('client', ['ping', '-c', '1', '-W', '2', '-M', df, '-s', '1440', wanAddress(to)]);
        const narrow = await ping('do', 'r1');
        expect(narrow.status).toBe(1);
        expect(narrow.stdout).toMatch(/Frag needed and DF set \(mtu = 1400\)/);
        expect((await ping('dont', 'r1')).status).toBe(0);
        expect((await ping('do', 'r2')).status).toBe(0);
      });
    },
    SLOW,
  );

  it(
    'is an ordinary network: hops, unreachable nets and closed ports answer as they should',
    async () => {
      await withLab(bare, async (lab) => {
        const ping = (...args: string[]) => lab.exec('client', ['ping', '-n', '-c', '1', '-W', '2', ...args]);
        const hops: string[] = [];
        for (const ttl of ['1', '2', '3', '4']) {
          hops.push(/[Ff]rom ([\d.]+)/.exec((await ping('-t', ttl, wanAddress('r1'))).stdout)?.[1] ?? '');
        }
        expect(hops).toEqual(['192.0.2.1', '198.18.1.1', '198.18.1.1', '198.18.11.2']);
        expect((await ping('10.9.8.7')).stdout).toMatch(/198\.18\.1\.1 .*Destination Net Unreachable/);
        const refused = await lab.exec('client', ['curl', '-sS', `http://${wanAddress('r1')}:81/`]);
        expect(refused.status).toBe(7);
      });
    },
    SLOW,
  );
});

describe('the web servers', () => {
  it(
    'answer under their own names, and say whom they served',
    async () => {
      await withLab(bare, async (lab) => {
        const direct = await request(lab);
        expect(direct).toMatchObject({ ok: true, servedBy: 'origin', error: '' });
        const r1 = await lab.exec('client', ['curl', '-sSi', `http://${wanAddress('r1')}/`]);
        expect(r1.stdout).toMatch(/^X-Served-By: r1\r$/m);
        expect(r1.stdout).toMatch(/\nserved by r1\n$/);
        const health = await lab.exec('client', ['curl', '-sS', `http://${wanAddress('r1')}/healthz`]);
        expect(health.stdout).toBe('ok\n');
        const log = lab.webServer('r1');
        await waitUntil(() => log.accessLog().length > 0, 2000);
        expect(log.accessLog()).toEqual([
          expect.objectContaining({
            host: 'r1',
            server: '198.18.11.2:80',
            status: 200,
            request: 'GET / HTTP/1.1',
          }),
        ]);
        const { client } = lab.webServer('server').accessLog()[0];
        expect(client).toBe(`192.0.2.2:${direct.clientPort}`);
        expect(lab.webServer('r2').accessLog()).toEqual([]);
        expect(halfOpen(lab)).toEqual({ server: 0, r1: 0, r2: 0, r3: 0 });
      });
    },
    SLOW,
  );

  it(
    'give and take large files whole, through the emulator',
    async () => {
      await withLab({ ...bare, topology: 'origin-nearest' }, async (lab) => {
        const content = randomBytes(24 << 20);
        const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
        mkdirSync(lab.webServer('server').blobDirectory, { recursive: true });
        const [file, got] = [`${lab.directory}/blob/24M`, `${lab.directory}/got`];
        writeFileSync(file, content);
        const curl = (...args: string[]) => lab.exec('client', ['curl', '-sSf', '--max-time', '30', ...args]);
        expect((await curl('-o', got, 'http://203.0.113.10/blob/24M')).status).toBe(0);
        expect(sha(readFileSync(got))).toBe(sha(content));
        expect((await curl('-T', file, 'http://203.0.113.10/upload/24M')).status).toBe(0);
        const put = readFileSync(`${lab.webServer('server').uploadDirectory}/24M`);
        expect(sha(put)).toBe(sha(content));
        const { holdFull, writeErrors } = await lab.wanStatistics();
        expect({ holdFull, writeErrors }).toEqual({ holdFull: 0, writeErrors: 0 });
      });
    },
    SLOW,
  );

  it(
    'can be stopped, killed, paused and started',
    async () => {
      await withLab(bare, async (lab) => {
        const get = async (seconds = '5') =>
          (await lab.exec('client', ['curl', '-sS', '--max-time', seconds, `http://${wanAddress('r1')}/`]))
            .status;
        const r1 = lab.webServer('r1');
        r1.pause();
        expect(await get('1')).toBe(28);
        r1.resume();
        expect(await get()).toBe(0);
        await r1.kill();
        expect(await get()).toBe(7);
        await r1.start();
        expect(await get()).toBe(0);
        await r1.stop();
        expect(await get()).toBe(7);
      });
    },
    SLOW,
  );
});

describe('the life of a laboratory', () => {
  it(
    'leaves nothing behind when it is taken down',
    async () => {
      const before = machine();
      const name = freshName();
      const lab = await Lab.create({ name, ...bare });
      expect(traces(name)).toContain(namespaceOf(name, 'r3'));
      const commands = ['sleep', 'redis-server', 'nginx'];
      lab.spawnIn('r1', ['sleep', '600']);
      const { processes } = LabState.existing(name).record;
      expect(processes.map((p) => p.what)).toEqual(
        expect.arrayContaining(['emulator', 'redis', 'nginx-server', 'nginx-r3', 'command-r1']),
      );
      expect(processes.filter(isAlive)).toHaveLength(commands.length + 4);
      expect(machine()).toBe(before);
      await lab.down();
      expect(traces(name)).toEqual([]);
      expect(processes.filter(isAlive)).toEqual([]);
      expect(machine()).toBe(before);
      await lab.down();
    },
    SLOW,
  );

  it(
    'refuses a name that is up, and leaves that one alone',
    async () => {
      await withLab(bare, async (lab) => {
        await expect(Lab.create({ name: lab.name, ...bare })).rejects.toMatchObject({
          code: 'FSA_LAB_EXISTS',
        });
        expect((await request(lab)).ok).toBe(true);
      });
    },
    SLOW,
  );

  it(
    'refuses a namespace that somebody else made, and leaves that one alone',
    async () => {
      const name = freshName();
      const foreign = namespaceOf(name, 'r2');
      await withLab(bare, async (lab) => {
        const ip = (...args: string[]) => lab.exec('client', ['ip', 'netns', ...args]);
        await ip('add', foreign);
        try {
          await expect(Lab.create({ name, ...bare })).rejects.toMatchObject({ code: 'FSA_LAB_EXISTS' });
          expect(traces(name)).toEqual([foreign]);
        } finally {
          await ip('del', foreign);
        }
      });
    },
    SLOW,
  );

  it(
    'is cleaned up at the next start when its owner was killed',
    async () => {
      const name = freshName();
      const [owner, said] = await ownerProcess(name, WAIT);
      expect(said).toBe('up');
      const exited = once(owner, 'exit');
      owner.kill('SIGKILL');
      await exited;
      const left = LabState.existing(name).record.processes;
      expect(left.filter(isAlive)).toHaveLength(6);
      const lab = await Lab.create({ name, ...bare });
      try {
        expect(left.filter(isAlive)).toEqual([]);
        expect((await request(lab)).ok).toBe(true);
      } finally {
        await lab.down();
      }
      expect(traces(name)).toEqual([]);
    },
    SLOW,
  );

  it.each([
    ['SIGTERM', WAIT, 143],
    ['SIGINT', WAIT, 130],
    ['an exception that nobody catches', "setTimeout(() => { throw new Error('on purpose'); }, 50);", 1],
    ['process.exit', 'setTimeout(() => process.exit(5), 50);', 5],
  ])(
    'is taken down by %s',
    async (how, then, status) => {
      const name = freshName();
      const [owner, said] = await ownerProcess(name, then);
      expect(said).toBe('up');
      const exited = once(owner, 'exit');
      if (how.startsWith('SIG')) owner.kill(how as NodeJS.Signals);
      expect(await exited).toEqual([status, null]);
      await waitUntil(() => traces(name).length === 0, 2000);
      expect(traces(name)).toEqual([]);
    },
    SLOW,
  );

  it(
    'left running outlives its owner, until it is taken down by name',
    async () => {
      const name = freshName();
      const [owner, said] = await ownerProcess(name, 'lab.leaveRunning();');
      expect(said).toBe('up');
      if (owner.exitCode === null) await once(owner, 'exit');
      const state = LabState.existing(name);
      expect(state.isLiving()).toBe(true);
      await expect(Lab.create({ name, ...bare })).rejects.toMatchObject({ code: 'FSA_LAB_EXISTS' });
      const exec = (host: string, ...command: string[]) => labExec({ name, host, command });
      expect(
        await exec('r1', 'sh', '-c', `ip -br addr show wan0 | grep -q ${wanAddress('r1')} && exit 7`),
      ).toBe(7);
      await expect(exec('r9', 'true')).rejects.toMatchObject({ code: 'FSA_USAGE' });
      expect(await labDown({ name })).toBe(0);
      expect(traces(name)).toEqual([]);
      await expect(labDown({ name })).rejects.toMatchObject({ code: 'FSA_LAB_UNKNOWN' });
      expect(() => LabState.existing(name)).toThrow(/no laboratory/);
    },
    SLOW,
  );

  it(
    'needs root, and says so',
    async () => {
      const [owner, said] = await ownerProcess(freshName(), '', 65_534);
      if (owner.exitCode === null) await once(owner, 'exit');
      expect(said).toMatch(/^FSA_PERMISSION: .*root$/);
      expect(owner.exitCode).toBe(77);
    },
    SLOW,
  );
});

/** Numbered datagrams from one host to another; the numbers that arrived, in order. */
async function burst(lab: Lab, from: string, to: string, count: number): Promise<number[]> {
  const literal = (name: string, _options: unknown, done: (e: null, a: string, f: number) => void) =>
    done(null, name, 4);
  const open = (host: string) =>
    within(namespaceOf(lab.name, host), () => {
      const socket = createSocket({ type: 'udp4', lookup: literal as never, recvBufferSize: 4 << 20 });
      socket.bind(0, wanAddress(host));
      return socket;
    });
  const [sender, receiver] = [open(from), open(to)];
  const marks: number[] = [];
  receiver.on('message', (m) => marks.push(m.readUInt32BE(0)));
  for (let n = 0; n < count; n++) {
    const message = Buffer.alloc(100);
    message.writeUInt32BE(n, 0);
    sender.send(message, receiver.address().port, wanAddress(to));
    // A neighbour that is not resolved yet queues only so many.
    if (n % 25 === 0) await pause(3);
  }
  await pause(400);
  sender.close();
  receiver.close();
  return marks;
}
