/** The certificates of a laboratory's members, made by openssl as an operator makes them. */
import { writeFileSync } from 'node:fs';
import { mustRun } from '../process.js';
import { addressOf, addressOf6, type RoutedHost, VIRTUAL_SUBNET, VIRTUAL_SUBNET6 } from './plan.js';

const DAYS = '30';

/** An authority in a directory: `ca.pem`, `ca.key`. */
export async function makeAuthority(directory: string, name = 'ca'): Promise<void> {
  await mustRun([
    ...[
      'openssl',
      'req',
      '-x509',
      '-newkey',
      'ed25519',
      '-nodes',
      '-days',
      DAYS,
      '-subj',
      '/CN=routing authority',
    ],
    ...['-keyout', `${directory}/${name}.key`, '-out', `${directory}/${name}.pem`],
  ]);
}

export interface CertificateOptions {
  /** The alternative name; what it may do. */
  uri: string;
  authority?: string;
  days?: number;
}

/** A member's `NAME.pem` and `NAME.key`. */
export async function makeCertificate(directory: string, name: string, o: CertificateOptions): Promise<void> {
  const at = `${directory}/${name}`;
  const authority = `${directory}/${o.authority ?? 'ca'}`;
  await mustRun([
    ...['openssl', 'req', '-new', '-newkey', 'ed25519', '-nodes', '-subj', `/CN=${name}`],
    ...['-keyout', `${at}.key`, '-out', `${at}.csr`],
  ]);
  writeFileSync(`${at}.ext`, `subjectAltName=URI:${o.uri}\n`);
  await mustRun([
    ...[
      'openssl',
      'x509',
      '-req',
      '-in',
      `${at}.csr`,
      '-CA',
      `${authority}.pem`,
      '-CAkey',
      `${authority}.key`,
    ],
    ...['-CAcreateserial', '-days', String(o.days ?? DAYS), '-extfile', `${at}.ext`, '-out', `${at}.pem`],
  ]);
}

/**
 * What a host of this laboratory may do: its own, and no more.
 * @param hasV6 over IPv6 too
 */
export function uriOf(hosts: readonly RoutedHost[], { name, level }: RoutedHost, hasV6 = false): string {
  const below = (of: string): string[] =>
    hosts.filter((h) => h.uppers.includes(of)).flatMap((h) => [h.name, ...below(h.name)]);
  const ends = [...new Set([name, ...below(name)])];
  const rights = [
    `subnet=${VIRTUAL_SUBNET}`,
    ...ends.map((h) => `target=${addressOf(hosts, h)}/32`),
    ...(hasV6 ? [`subnet=${VIRTUAL_SUBNET6}`, ...ends.map((h) => `target=${addressOf6(hosts, h)}/128`)] : []),
  ];
  return `firstack:routing?id=${name}&level=${level}&${rights.join('&')}`;
}
