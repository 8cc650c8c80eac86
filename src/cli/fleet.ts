/** `firstack fleet`: the fleet's key, and the identities that it signs. */
import { createHash, randomBytes } from 'node:crypto';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { validate } from '../config.js';
import { wallMs } from '../device/wall-clock.js';
import { FirstackError } from '../errors.js';
import { createLog } from '../log.js';
import { userLine } from '../registry/access.js';
import type { RecordKind } from '../registry/kinds.js';
import { RedisRegistry } from '../registry/redis.js';
import { MOST_REVOKED, type RevocationRecord, revocationKind } from '../registry/revocation.js';
import {
  type Credential,
  HOLDERS,
  type Holder,
  type Scope,
  scopeSchema,
  subjectOf,
} from '../trust/credential.js';
import {
  fleetIdentity,
  type Identity,
  issue,
  makeFleetKey,
  readFleetKey,
  readIdentity,
  writeIdentity,
} from '../trust/identity.js';
import { integer } from './options.js';

const DAY = 86_400;

export function addFleet(root: Command): void {
  const fleet = root
    .command('fleet')
    .description("make the fleet's key, and issue, show, rotate and revoke the machines' identities");
  fleet
    .command('init')
    .description("make the fleet's key, to be kept offline, and print its public half")
    .requiredOption('--out <file>', 'file to write; never overwritten')
    .action(({ out }: { out: string }) => print(makeFleetKey(out)));
  addIssue(fleet);
  addRotate(fleet);
  addRevoke(fleet);
  fleet
    .command('show')
    .description('print what an identity may state, and until when')
    .argument('<file>', 'an identity file')
    .option('--json', 'print the credential as JSON')
    .action((file: string, { json }: { json?: boolean }) => {
      const { credential } = readIdentity(file, wallMs());
      print(json === true ? JSON.stringify(credential, null, 2) : described(credential));
    });
}

const keyOption = (): Option =>
  new Option('--key <file>', "the fleet's key (firstack fleet init)").makeOptionMandatory();
const daysOption = (): Option =>
  new Option('--days <n>', 'how long it is valid').argParser(integer(1, 3650)).default(365);
const outOption = (): Option =>
  new Option('--out <file>', 'file to write; never overwritten').makeOptionMandatory();

interface Issued {
  key: string;
  id: string;
  may: Scope;
  days: number;
  out: string;
}

function addIssue(fleet: Command): void {
  const command = fleet
    .command('issue')
    .description("make a machine's identity, and print its user line for Redis (users.acl)")
    .argument('<role>', HOLDERS.join(', '))
    .addOption(keyOption())
    .requiredOption('--id <id>', "a gateway's tag.gatewayId, an origin's instance, a replica's id")
    .addOption(
      new Option(
        '--may <list>',
        'what its records may name, once for each list: services=NAME,… or services=*, addresses=PREFIX,…, servicePrefixes=PREFIX,…, prefixes=PREFIX,…, sites=NAME,…',
      )
        .argParser(scopeOf)
        .default({}),
    )
    .addOption(daysOption())
    .addOption(outOption());
  command.action((role: string, o: Issued) => {
    if (!HOLDERS.includes(role as Holder))
      throw new FirstackError('FSA_USAGE', `'${role}' is no role: ${HOLDERS.join(', ')}`);
    if (!/^[a-z0-9-]{1,80}$/.test(o.id)) throw new FirstackError('FSA_USAGE', `--id '${o.id}' is no id`);
    write(o, subjectOf(role as Holder, o.id), o.may);
  });
}

/** Parses `LIST=VALUE,…`, and adds it to what was given before. */
function scopeOf(text: string, before: Scope): Scope {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('LIST=VALUE,… is needed');
  const list = text.slice(0, at);
  const values = text
    .slice(at + 1)
    .split(',')
    .filter(Boolean);
  const scope = { ...before, [list]: values };
  const [problem] = validate(scope, scopeSchema, () => '--may');
  if (problem !== undefined) throw new InvalidArgumentError(problem.message);
  return scope;
}

function write(
  { key, days, out }: Omit<Issued, 'id' | 'may'>,
  sub: string,
  may: Scope,
  former?: Identity,
): void {
  const nbf = Math.floor(wallMs() / 1000);
  const { file, credential } = issue(readFleetKey(key), { sub, may, nbf, exp: nbf + days * DAY }, former);
  writeIdentity(out, file);
  print(described(credential));
  const password = randomBytes(24).toString('base64url');
  const digest = createHash('sha256').update(password).digest('hex');
  const [user, line] = userLine(credential, digest);
  print(
    `\nFor Redis's users.acl:\n${line}\nFor its role file:\nregistry: redis://${user}:${password}@HOST:6379`,
  );
}

function addRotate(fleet: Command): void {
  fleet
    .command('rotate')
    .description('issue new keys for the machine of an identity file, with the same scope')
    .argument('<file>', 'its present identity file')
    .addOption(keyOption())
    .addOption(daysOption())
    .addOption(outOption())
    .action((file: string, o: { key: string; days: number; out: string }) => {
      // An identity that has expired may be rotated too.
      const former = readIdentity(file, undefined);
      write(o, former.credential.sub, former.credential.may, former);
    });
}

interface Revoked {
  key: string;
  registry: string;
  ca?: string;
  cert?: string;
  certKey?: string;
}

function addRevoke(fleet: Command): void {
  fleet
    .command('revoke')
    .description(
      'publish that credentials count no longer; every role that is connected leaves their records out',
    )
    .argument('<what...>', "credentials' numbers (jti), or identity files")
    .addOption(keyOption())
    .requiredOption('--registry <url>', "the fleet's registry, as a user that may write revocation:list")
    .option('--ca <file>', 'for rediss://: who signed its certificate, in PEM')
    .option('--cert <file>', 'for rediss://: the certificate to show')
    .option('--cert-key <file>', 'for rediss://: its key')
    .action(async (what: string[], o: Revoked) => {
      const serials = what.map((text) =>
        /^[0-9a-f]{16}$/.test(text) ? text : readIdentity(text, undefined).credential.jti,
      );
      const all = await publish(o, serials);
      print(`revoked: ${all.join(', ')}`);
    });
}

/** Adds to the published list. @returns the whole list */
async function publish(
  { key, registry: url, ca, cert, certKey }: Revoked,
  serials: readonly string[],
): Promise<string[]> {
  const identity = fleetIdentity(readFleetKey(key), wallMs());
  const log = createLog('firstack-fleet', 'warn', 'fleet');
  const kinds = [revocationKind as RecordKind];
  const files = { caFile: ca, certFile: cert, keyFile: certKey };
  const tls = Object.values(files).some((file) => file !== undefined) ? files : undefined;
  const registry = new RedisRegistry(url, log, kinds, tls, 'fleet', { identity, refuses: true });
  await registry.start();
  try {
    const before = registry.view.of(revocationKind).flatMap((r) => r.serials);
    const all = [...new Set([...before, ...serials])];
    if (all.length > MOST_REVOKED)
      throw new FirstackError('FSA_USAGE', `more than ${MOST_REVOKED} credentials: make a new fleet key`);
    const record: RevocationRecord = { v: 1, id: 'list', serials: all };
    registry.publish(revocationKind, record);
    await registry.written();
    return all;
  } finally {
    await registry.stop();
  }
}

function described({ jti, sub, nbf, exp, may }: Credential): string {
  const day = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 10);
  const lists = Object.entries(may).map(([list, values]) => `  ${list}: ${values.join(', ')}`);
  return [`${sub}, number ${jti}, valid ${day(nbf)} to ${day(exp)}, may state`, ...lists].join('\n');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
