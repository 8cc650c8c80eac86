/**
 * Processes identified by (pid, start time), so that another process to which the kernel has given the pid since is
 * never signalled.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import { namespaceRoot } from './paths.js';

export interface ProcessId {
  pid: number;
  /** Clock ticks since boot: field 22 of /proc/PID/stat. */
  startTime: string;
}

export interface Output {
  status: number;
  stdout: string;
  stderr: string;
}

/** @returns undefined when there is no such process */
export function identify(pid: number): ProcessId | undefined {
  const fields = statOf(pid);
  return fields === undefined ? undefined : { pid, startTime: fields[19] };
}

/** A zombie counts as dead, because it has released everything but its pid. */
export function isAlive(id: ProcessId): boolean {
  const fields = statOf(id.pid);
  return fields !== undefined && fields[19] === id.startTime && fields[0] !== 'Z' && fields[0] !== 'X';
}

// The fields of /proc/PID/stat after the command's name, which may itself contain blanks and parentheses.
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** @returns whether the signal was sent */
export function signal(id: ProcessId, name: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    process.kill(id.pid, name);
    return true;
  } catch {
    return false;
  }
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** @returns whether the condition became true before the timeout */
export async function waitUntil(
  what: () => boolean | Promise<boolean>,
  timeoutMs: number,
  everyMs = 20,
): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (await what()) return true;
    if (performance.now() > end) return false;
    await pause(everyMs);
  }
}

/** Ends processes together: SIGTERM, and SIGKILL for those that still run after `graceMs`. */
export async function endAll(ids: ProcessId[], graceMs = 10_000): Promise<void> {
  for (const id of ids) {
    signal(id, 'SIGTERM');
    // A process that a test has stopped would not handle the SIGTERM.
    signal(id, 'SIGCONT');
  }
  if (await waitUntil(() => !ids.some(isAlive), graceMs)) return;
  for (const id of ids) signal(id, 'SIGKILL');
  await waitUntil(() => !ids.some(isAlive), 2000);
}

/**
 * The command line that runs `argv` in a network namespace. nsenter is replaced by the command, so there is one pid.
 */
export function inNamespace(namespace: string, argv: string[]): string[] {
  return ['nsenter', `--net=${namespaceRoot}/${namespace}`, '--', ...argv];
}

export function run(argv: string[], options: { input?: string; timeoutMs?: number } = {}): Promise<Output> {
  return new Promise((resolve) => {
    const child = execFile(
      argv[0],
      argv.slice(1),
      { maxBuffer: 64 << 20, timeout: options.timeoutMs ?? 0, encoding: 'utf8' },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 127;
        resolve({ status, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
      },
    );
    // A command that ends before it has read its input is judged by its exit status.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

/** @throws FirstackError FSA_LAB_FAILED when it ends with another status than 0 */
export async function mustRun(argv: string[], input?: string): Promise<string> {
  const { status, stdout, stderr } = await run(argv, { input });
  if (status !== 0) {
    throw new FirstackError('FSA_LAB_FAILED', `${argv.join(' ')}: ${stderr.trim() || `status ${status}`}`);
  }
  return stdout;
}

/**
 * Starts a process in its own session, because a Ctrl-C at the terminal is for this process only; its output goes to
 * a file.
 */
export function spawnLogged(argv: string[], log: string, options: SpawnOptions = {}): ChildProcess {
  const fd = openSync(log, 'a');
  try {
    const child = spawn(argv[0], argv.slice(1), {
      detached: true,
      stdio: ['ignore', fd, fd],
      ...options,
    });
    child.on('error', () => {});
    child.unref();
    return child;
  } finally {
    closeSync(fd);
  }
}

/** The last lines of a log, for an error message. */
export function tail(log: string, lines = 8): string {
  try {
    return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(no log)';
  }
}
