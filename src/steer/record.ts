/**
 * What an instance has set on this host, as it is recorded under the run directory: the next start finds it after a
 * kill, and other instances see what is taken.
 */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { parse } from '../wire/address.js';
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

/** The record of an instance, running or killed; undefined also for one that no role has written. */
export function readRecord(instance: string): Applied | undefined {
  const record = parsed(instance);
  return isSound(record) ? record : undefined;
}

/** Whether a record is there that no role has written: nothing is done by it. */
export function hasUnsoundRecord(instance: string): boolean {
  return existsSync(fileOf(instance)) && !isSound(parsed(instance));
}

const fileOf = (instance: string): string => `${RUN_DIRECTORY}/${instance}/steering.json`;

function parsed(instance: string): unknown {
  try {
    return JSON.parse(readFileSync(fileOf(instance), 'utf8'));
  } catch {
    return undefined;
  }
}

const NUMBERS = [
  'pid',
  'namespace',
  'mark',
  'tunnelMark',
  'mask',
  'table',
  'tunnelTable',
  'priority',
] as const;
/** Settings that a role changes. No interface's name has a slash. */
const SYSCTL = /^net\.ipv[46]\.(?:conf\.(?!\.{1,2}\.)[^/\s]{1,15}\.)?[a-z0-9_]+$/;
const VALUE = /^-?\d{1,10}$/;
const INTERFACE = /^(?!\.{1,2}$)[^/\s]{1,15}$/;

/**
 * A role removes with its own rights what a record names. A process that can write the file, and has fewer rights, must not
 * gain the role's by it.
 */
function isSound(record: unknown): record is Applied {
  if (typeof record !== 'object' || record === null) return false;
  const r = record as Record<string, unknown>;
  const sysctls: unknown = r.sysctls;
  return (
    NUMBERS.every((name) => Number.isSafeInteger(r[name]) && (r[name] as number) >= 0) &&
    /^\d*$/.test(String(r.started)) &&
    INTERFACE.test(String(r.tun)) &&
    typeof r.movedLocal === 'boolean' &&
    Array.isArray(sysctls) &&
    sysctls.every((s) => SYSCTL.test(String(s?.key)) && VALUE.test(String(s?.before))) &&
    (r.hops === undefined || isHops(r.hops)) &&
    (r.v6Sources === undefined || isSources(r.v6Sources))
  );
}

function isHops(hops: unknown): boolean {
  const { mask, table, priority, numbers } = hops as Record<string, unknown>;
  return (
    [mask, table, priority].every((n) => Number.isSafeInteger(n)) &&
    typeof numbers === 'object' &&
    numbers !== null &&
    Object.entries(numbers).every(([address, n]) => parse(address) !== undefined && Number.isSafeInteger(n))
  );
}

function isSources(sources: unknown): boolean {
  return (
    Array.isArray(sources) &&
    sources.every((s) => parse(String(s?.address)) !== undefined && Number.isSafeInteger(s?.port))
  );
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
