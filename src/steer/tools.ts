/** Runs the host's tools (ip, nft, tc), and reads and writes sysctls. */
import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { FirstackError } from '../errors.js';

const run = promisify(execFile);

/** Processes that this process started of late, so that their changes are not taken for another program's. */
const started = new Set<number>();
const REMEMBERED = 1000;
/** A tool that takes longer hangs: something else holds the kernel's lock. Loading tens of thousands of elements takes seconds. */
const HANGS_MS = 20_000;

/** Whether this process started that one. */
export const isOwn = (pid: number): boolean => started.has(pid) || pid === process.pid;

function note(pid: number | undefined): void {
  if (pid === undefined) return;
  started.add(pid);
  if (started.size > REMEMBERED) started.delete(started.values().next().value!);
}

/** Runs a tool; its own message becomes the error. */
export async function command(tool: string, args: string[], input?: string): Promise<string> {
  const child = run(tool, args, { maxBuffer: 64 << 20, timeout: HANGS_MS, killSignal: 'SIGKILL' });
  note(child.child.pid);
  if (input !== undefined) child.child.stdin?.end(input);
  try {
    return (await child).stdout;
  } catch (error) {
    const e = error as NodeJS.ErrnoException & { stderr?: string };
    if (e.code === 'ENOENT')
      throw new FirstackError('FSA_TOOL_MISSING', `the program '${tool}' is not installed`);
    const said = (e.stderr ?? e.message).trim();
    if (/not permitted|permission denied/i.test(said))
      throw new FirstackError('FSA_PERMISSION', `${tool}: ${said.split('\n')[0]}`);
    throw new Error(`${tool} ${args.join(' ')}: ${said}`);
  }
}

export async function attempt(tool: string, args: string[]): Promise<boolean> {
  try {
    const child = run(tool, args, { timeout: HANGS_MS, killSignal: 'SIGKILL' });
    note(child.child.pid);
    await child;
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs commands of `ip` or `tc` in one process, in order, up to the first that fails: starting a process costs more than
 * such a command.
 * @param options of the tool, such as the family
 */
export async function batch(
  tool: 'ip' | 'tc',
  commands: readonly (readonly string[])[],
  options: readonly string[] = [],
): Promise<void> {
  if (commands.length === 0) return;
  try {
    await command(tool, [...options, '-batch', '-'], lines(commands));
  } catch (error) {
    // 'Command failed -:3' names the line.
    const failed = commands[Number(/Command failed -:(\d+)/.exec((error as Error).message)?.[1]) - 1];
    if (failed !== undefined) (error as Error).message += ` (${[tool, ...options, ...failed].join(' ')})`;
    throw error;
  }
}

/** The same, where each command may fail. */
export async function attemptBatch(
  tool: 'ip' | 'tc',
  commands: readonly (readonly string[])[],
  options: readonly string[] = [],
): Promise<void> {
  if (commands.length === 0) return;
  await command(tool, [...options, '-force', '-batch', '-'], lines(commands)).catch(() => {});
}

const lines = (commands: readonly (readonly string[])[]): string =>
  commands.map((words) => `${words.join(' ')}\n`).join('');

/** Whether a tool is found where this process looks for programs. */
export function isInstalled(tool: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => {
    try {
      accessSync(`${directory}/${tool}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @throws FirstackError FSA_INTERNAL for a key that leads elsewhere */
function sysctlPath(key: string): string {
  const parts = splitSysctl(key);
  if (parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('/')))
    throw new FirstackError('FSA_INTERNAL', `'${key}' is no setting`);
  return `/proc/sys/${parts.join('/')}`;
}

/** Splits net.ipv4.conf.IFACE.name, where IFACE may itself contain dots (a VLAN). */
function splitSysctl(key: string): string[] {
  const match = /^(net)\.(ipv4|ipv6)\.(conf)\.(.+)\.([^.]+)$/.exec(key);
  return match === null ? key.split('.') : match.slice(1);
}

export function readSysctl(key: string): string {
  return readFileSync(sysctlPath(key), 'utf8').trim();
}

export function writeSysctl(key: string, value: string): void {
  try {
    writeFileSync(sysctlPath(key), value);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
      throw new FirstackError('FSA_PERMISSION', `no permission to set ${key}`);
    throw error;
  }
}
