/** Which roles an operator's command asks: those of a laboratory, those named, or those of this host. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { askAdmin } from '../admin/client.js';
import { FirstackError } from '../errors.js';

/** The default of `admin.listen` of each role. */
const OF_THIS_HOST = ['127.0.0.1:7411', '127.0.0.1:7412', '127.0.0.1:7413'];
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

/** The admin address of one role: of a laboratory's host where one is named, else the one that is given. */
export const addressOf = (o: { admin: string; lab?: string }, host: string): string =>
  o.lab === undefined ? o.admin : `unix:${LABORATORIES}/${o.lab}/${host}.sock`;

/**
 * The admin addresses to ask.
 * @throws FirstackError FSA_LAB_UNKNOWN
 */
export function addressesOf({ admin = [], lab }: AskedOptions): string[] {
  if (admin.length > 0) return admin;
  if (lab === undefined) return OF_THIS_HOST;
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
