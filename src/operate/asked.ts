/** Which roles an operator's command asks: those of a laboratory, those named, or those of this host. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { askAdmin } from '../admin/client.js';
import { PORTS, socketsOf } from '../admin/place.js';
import { FirstackError } from '../errors.js';
import type { RoleName } from '../steer/marks.js';

const loopback = (role: RoleName): string => `127.0.0.1:${PORTS[role]}`;
/** The default addresses of this host's roles; one that does not answer in full does not count. */
const ofThisHost = (): string[] => [...socketsOf(), ...(Object.keys(PORTS) as RoleName[]).map(loopback)];
/** Where laboratories keep the sockets of their roles' admin APIs. */
const LABORATORIES = '/run/firstack/lab';

export interface AskedOptions {
  admin?: string[];
  lab?: string;
}

/** The answer of one role. */
export interface Answered<T> {
  admin: string;
  answer?: T;
  /** Why it did not answer. */
  problem?: string;
  /** What a role of a laboratory said last, when its process ended by itself. */
  said?: string;
}

/**
 * The admin address of one role: of a laboratory's host where one is named, the one that is given, or that of the only role
 * of this kind on this host.
 * @throws FirstackError FSA_USAGE where there are several
 */
export function addressOf(o: { admin?: string; lab?: string }, role: RoleName, host: string = role): string {
  if (o.lab !== undefined) return `unix:${LABORATORIES}/${o.lab}/${host}.sock`;
  if (o.admin !== undefined) return o.admin;
  const sockets = socketsOf(role);
  if (sockets.length < 2) return sockets[0] ?? loopback(role);
  throw new FirstackError('FSA_USAGE', `--admin: this host has several: ${sockets.join(', ')}`);
}

/**
 * The admin addresses to ask.
 * @throws FirstackError FSA_LAB_UNKNOWN
 */
export function addressesOf({ admin = [], lab }: AskedOptions): string[] {
  if (admin.length > 0) return admin;
  if (lab === undefined) return ofThisHost();
  const directory = `${LABORATORIES}/${lab}`;
  if (!existsSync(directory))
    throw new FirstackError('FSA_LAB_UNKNOWN', `there is no laboratory '${lab}' in ${LABORATORIES}`);
  const files = readdirSync(directory);
  // A role that was killed may have no socket any more; its role file is there.
  const hosts = files
    .filter((f) => /\.(sock|yaml)$/.test(f) && !/^(wan|redis|registry)/.test(f))
    .map((f) => f.replace(/\.\w+$/, ''));
  return [...new Set(hosts)].sort().map((host) => `unix:${directory}/${host}.sock`);
}

/** Lines at the end of a log in which a process that ended says why. */
const LAST_LINES = 8;

/** The error with which a role of a laboratory ended by itself; '' for one that was killed. */
function lastWords(admin: string): string {
  const path = /^unix:(\/run\/firstack\/lab\/.*)\.sock$/.exec(admin)?.[1];
  if (path === undefined || !existsSync(`${path}.log`)) return '';
  const lines = readFileSync(`${path}.log`, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
  const last = lines.at(-1) ?? '';
  if (/^FSA_/.test(last)) return last;
  if (!last.includes('"msg":"stopped"')) return '';
  const errors = lines.filter((l) => /"level":[56]0/.test(l));
  return /"msg":"((?:[^"\\]|\\.)*)"/.exec(errors.at(-1) ?? '')?.[1] ?? '';
}

/**
 * Asks every role at once. Of this host's default addresses only those that answer count; a role that was named and
 * does not answer is a line of the report.
 * @throws FirstackError FSA_ADMIN_UNAVAILABLE when none answers
 */
export async function askAll<T>(o: AskedOptions, path: string): Promise<Answered<T>[]> {
  const all = await Promise.all(
    addressesOf(o).map(async (admin): Promise<Answered<T>> => {
      try {
        return { admin, answer: await askAdmin<T>(admin, path) };
      } catch (error) {
        return { admin, problem: (error as Error).message, said: lastWords(admin) };
      }
    }),
  );
  const isNamed = (o.admin ?? []).length > 0 || o.lab !== undefined;
  const counted = all.filter((a) => isNamed || a.answer !== undefined);
  if (!counted.some((a) => a.answer !== undefined))
    throw new FirstackError(
      'FSA_ADMIN_UNAVAILABLE',
      `no role answers at ${all.map((a) => a.admin).join(', ')} (--admin ADDRESS, --lab NAME)`,
    );
  return counted;
}
