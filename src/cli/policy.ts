/** `firstack policy`: the operator's own functions as signed WebAssembly modules. */
import { readFileSync, writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { FirstackError } from '../errors.js';
import {
  checkCode,
  KINDS,
  PolicyError,
  type PolicyKind,
  readKey,
  readPolicy,
  signPolicy,
} from '../policy/signed.js';
import { PolicyStore, readText } from '../policy/store.js';
import { integer } from './options.js';

const DIRECTORY = '/etc/firstack/policies';

interface SignOptions {
  key: string;
  name: string;
  policyVersion: number;
  kind: PolicyKind;
  from: string;
  until: string;
  scope: string;
  out: string;
}

/** What is wrong with a policy is the operator's to mend. */
function said<T>(what: () => T): T {
  try {
    return what();
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    throw new FirstackError('FSA_CONFIG_VALUE', error.message);
  }
}

function publicKey(path: string): ReturnType<typeof readKey> {
  try {
    return readKey(path);
  } catch (error) {
    throw new FirstackError('FSA_KEY_INVALID', `${path}: ${(error as Error).message}`);
  }
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

export function addPolicy(root: Command): void {
  const policy = root
    .command('policy')
    .description("the operator's own functions as signed WebAssembly modules");
  const withKey = (): Option =>
    new Option('--key <file>', "the operator's public key, in PEM").makeOptionMandatory();
  const withDirectory = (): Option =>
    new Option('--to <directory>', 'where the policies of this host stand').default(DIRECTORY);

  policy
    .command('sign')
    .description('makes a policy of a module: openssl genpkey -algorithm ed25519 makes the key')
    .argument('<module>', 'a file of WebAssembly')
    .requiredOption('--key <file>', 'the private key, in PEM')
    .requiredOption('--name <name>', 'its name')
    .requiredOption(
      '--policy-version <n>',
      'newer than every version before',
      integer(1, Number.MAX_SAFE_INTEGER),
    )
    .addOption(new Option('--kind <kind>', 'what it computes').choices(KINDS).makeOptionMandatory())
    .requiredOption('--from <time>', 'valid from: 2026-12-01T00:00:00Z')
    .requiredOption('--until <time>', 'and until')
    .option('--scope <names>', 'virtual hosts, joined by comma', '*')
    .requiredOption('--out <file>', 'the policy')
    .action((module: string, o: SignOptions) =>
      said(() => {
        const code = Uint8Array.from(readFileSync(module));
        checkCode(code, o.kind);
        const text = signPolicy(
          {
            ...{ v: 1, name: o.name, version: o.policyVersion, kind: o.kind, scope: o.scope.split(',') },
            ...{ notBefore: o.from, notAfter: o.until, code: Buffer.from(code).toString('base64') },
          },
          readText(o.key),
        );
        writeFileSync(o.out, text);
      }),
    );
  policy
    .command('check')
    .description('says what is wrong with a policy; changes nothing')
    .argument('<file>')
    .addOption(withKey())
    .action((file: string, { key }: { key: string }) =>
      said(() => {
        const { name, version, kind, scope, notAfter } = readPolicy(
          readText(file),
          publicKey(key),
          Date.now(),
        );
        print(`${name}, version ${version}: ${kind} of ${scope.join(', ')}, until ${notAfter}`);
      }),
    );
  policy
    .command('install')
    .description(
      'puts a policy in force here: routers whose policy.costFile is DIRECTORY/NAME/current take it over',
    )
    .argument('<file>')
    .addOption(withKey())
    .addOption(withDirectory())
    .action((file: string, { key, to }: { key: string; to: string }) =>
      said(() => {
        const { name, version } = new PolicyStore(to).install(readText(file), publicKey(key), Date.now());
        print(`${to}/${name}/current is version ${version}`);
      }),
    );
  policy
    .command('rollback')
    .description('puts the version before in force again')
    .argument('<name>')
    .addOption(withDirectory())
    .action((name: string, { to }: { to: string }) =>
      said(() => print(`${to}/${name}/current is version ${new PolicyStore(to).rollback(name)}`)),
    );
  policy
    .command('list')
    .description('the policies of this host, with their versions')
    .addOption(withDirectory())
    .action(({ to }: { to: string }) => {
      for (const { name, versions, current } of new PolicyStore(to).list())
        print(`${name}: version ${current} of ${versions.join(', ')}`);
    });
}
