/** How a laboratory begins and ends, however its owner does: nothing is left behind. */
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
