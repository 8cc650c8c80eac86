/**
 * The access rules of one machine's user in Redis (7.0 or later, with selectors): it reads everything, and writes its own
 * records, their seals and its own claims. To streams and indexes it may add; what it spoils there is a hint
 * (`registry/hints.ts`).
 */

import type { Credential } from '../trust/credential.js';
import { PREFIX } from './keys.js';

const BASE = 'resetchannels resetkeys -@all +ping +info +time';
const READS = `(%R~${PREFIX}* +get +mget +scan +scard +smembers +xread +xrevrange)`;
/** Gateways and origins in turn sweep what has expired. */
const SWEEPS = `(~${PREFIX}epoch ~${PREFIX}sweeper +get +set +del +pexpire) (~${PREFIX}index:* +sadd +srem)`;

/** @param digest SHA-256 of the password, hexadecimal @returns the user's name, and its line for `users.acl` */
export function userLine({ sub, may }: Credential, digest: string): [user: string, line: string] {
  const [role, id] = sub.split(':');
  const user = `${role}-${id}`;
  const records = recordsOf(role, id, may.services ?? []);
  const own = records.flatMap((key) => [`~${PREFIX}${key}`, `~${PREFIX}seal:${key}`]);
  const topics = topicsOf(role, may.sites ?? []);
  const list = (what: string): string => topics.map((t) => `~${PREFIX}${what}:${t}`).join(' ');
  const rules = [
    READS,
    `(${own.join(' ')} ~${PREFIX}owner:${role}:${id} +get +set +del)`,
    `(${list('changes')} +xadd)`,
    `(${list('index')} +sadd)`,
    ...(role === 'replica' ? [] : [SWEEPS, `(~${PREFIX}changes:* +xadd)`]),
  ];
  return [user, `user ${user} on #${digest} ${BASE} ${rules.join(' ')}`];
}

function recordsOf(role: string, id: string, services: readonly string[]): string[] {
  if (role === 'gateway') return [`gateway:${id}`, `acting:gateway-${id}`, `proximity:${id}`];
  if (role === 'replica') return [`replica:${id}`];
  return [`origin:${id}`, `acting:origin-${id}`, ...services.map((name) => `service:${name}`)];
}

function topicsOf(role: string, sites: readonly string[]): string[] {
  if (role === 'gateway') return ['gateway', 'acting', ...sites.map((site) => `proximity:${site}`)];
  return role === 'replica' ? ['replica'] : ['origin', 'acting', 'service'];
}
