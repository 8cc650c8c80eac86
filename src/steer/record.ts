/**
 * What an instance has set on this host, as it is recorded under the run directory: the next start finds it after a
 * kill, and other instances see what is taken.
 */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs';
import type { NextHops } from './next-hops.js';
import type { Source } from './plan.js';

export const RUN_DIRECTORY = process.env.FIRSTACK_RUN_DIR ?? '/run/firstack';

/** The record that is needed to remove a steering. */
export interface Applied {
  pid: number;
  /** The process's start time, so that another process with a reused pid is not taken for it. */
  started: string;
  /** The network namespace; instances of several namespaces may share a run directory. */
  namespace: number;
  tun: string;
  mark: number;
  tunnelMark: number;
  mask: number;
  table: number;
  tunnelTable: number;
  priority: number;
  movedLocal: boolean;
  sysctls: { key: string; before: string }[];
  /** Adjacent servers: their numbers by address, and their marks and tables. */
  hops?: Hops;
  /** Whether the IPv6 half was applied, and its sources. */
  v6?: boolean;
  v6Sources?: readonly Source[];
}

export type Hops = Pick<NextHops, 'mask' | 'table' | 'priority'> & { numbers: Record<string, number> };

/** The record of an instance, running or killed. */
export function readRecord(instance: string): Applied | undefined {
  try {
    return JSON.parse(readFileSync(`${RUN_DIRECTORY}/${instance}/steering.json`, 'utf8')) as Applied;
  } catch {
    return undefined;
  }
}

/** Removes a record of an instance, and its directory with the last record. */
export function forgetRecord(instance: string, file: string): void {
  const directory = `${RUN_DIRECTORY}/${instance}`;
  rmSync(`${directory}/${file}`, { force: true });
  if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}

export function ownNamespace(): number {
  return statSync('/proc/self/ns/net').ino;
}

/** Field 22 of /proc/PID/stat; '' when there is no such process. */
export function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return '';
  }
}

export function isAlive(pid: number, started: string): boolean {
  return started !== '' && startTime(pid) === started;
}
