/**
 * What a member's certificate says that it may do: one URI among its alternative names (RFC 5280, 4.2.1.6),
 *
 *   firstack:routing?id=t1&level=site&subnet=203.0.113.80/32&target=198.51.100.0/24
 *
 * `subnet`: virtual subnets that it may serve; `target`: addresses at which it, and what is below it, may end tunnels.
 */
import type { PeerCertificate } from 'node:tls';
import { type Prefix, parsePrefix } from '../wire/address.js';
import { LEVELS, type Level } from './levels.js';

export interface Authority {
  id: string;
  level: Level;
  subnets: Prefix[];
  targets: Prefix[];
  /** End of the certificate's validity, ms since 1970. */
  until: number;
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;
const MOST = 256;

/** @returns what is wrong with the certificate, as text */
export function authorityOf(certificate: PeerCertificate): Authority | string {
  const names = (certificate.subjectaltname ?? '').split(', ');
  const text = names.find((n) => n.startsWith('URI:firstack:routing?'));
  if (text === undefined) return 'its certificate has no name firstack:routing?id=…';
  const query = new URLSearchParams(text.slice(text.indexOf('?') + 1));
  const id = query.get('id') ?? '';
  const level = LEVELS.find((l) => l === query.get('level'));
  if (!NAME.test(id)) return 'its certificate names no id';
  if (level === undefined) return `its certificate names no level (${LEVELS.join(', ')})`;
  const prefixes = (key: string): (Prefix | undefined)[] => query.getAll(key).slice(0, MOST).map(parsePrefix);
  const [subnets, targets] = [prefixes('subnet'), prefixes('target')];
  if ([...subnets, ...targets].includes(undefined)) return 'its certificate names a prefix that is none';
  const until = Date.parse(certificate.valid_to);
  return { id, level, subnets: subnets as Prefix[], targets: targets as Prefix[], until };
}
