/** How a laboratory begins and ends, for every way in which its owner can end: nothing is left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { labDown, labExec } from '../../src/lab/commands.js';
import { Lab } from '../../src/lab/lab.js';
import { namespaceOf, wanAddress } from '../../src/lab/network.js';
import { labRoot, packageRoot } from '../../src/lab/paths.js';
import { isAlive, waitUntil } from '../../src/lab/process.js';
import { request } from '../../src/lab/requests.js';
import { LabState } from '../../src/lab/state.js';
import { freshName, withLab } from './lab-support.js';

const bare = { roles: false };
const SLOW = 60_000;

/** Everything of a laboratory of this name on the machine, apart from its record. */
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

/** The state of the machine's own namespace, which no laboratory may change. */
function machine(): string {
  const sysctls = ['ip_forward', 'conf/all/rp_filter', 'conf/default/rp_filter', 'conf/default/accept_local'];
  return [
    ...['dev', 'route', 'fib_trie'].map((f) =>
      readFileSync(`/proc/thread-self/net/${f}`, 'utf8')
        // Counters change all the time.
        .replace(/^( *\w+:).*$/gm, '$1'),
    ),
    ...sysctls.map((s) => readFileSync(`/proc/sys/net/ipv4/${s}`, 'utf8')),
  ].join('\n');
}

/** A process that starts a laboratory from the build and then does what the test says. */
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
    // The output of an uncaught exception is not needed here.
    stdio: ['ignore', 'pipe', 'ignore'],
    uid,
  });
  const [first] = await once(child.stdout as NodeJS.ReadableStream, 'data');
  return [child, String(first).trim()];
}

const WAIT = 'setInterval(() => {}, 1000);';

describe('the life of a laboratory', () => {
  it(
    'leaves nothing behind when it is removed',
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
    'refuses the name of a running laboratory, and does not touch that one',
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
    'refuses a namespace that no laboratory made, and does not touch it',
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
    ['an uncaught exception', "setTimeout(() => { throw new Error('on purpose'); }, 50);", 1],
    ['process.exit', 'setTimeout(() => process.exit(5), 50);', 5],
  ])(
    'is removed after %s',
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
    'left running outlives its owner, until it is removed by name',
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
    'needs root, and reports that',
    async () => {
      const [owner, said] = await ownerProcess(freshName(), '', 65_534);
      if (owner.exitCode === null) await once(owner, 'exit');
      expect(said).toMatch(/^FSA_PERMISSION: .*root$/);
      expect(owner.exitCode).toBe(77);
    },
    SLOW,
  );
});
