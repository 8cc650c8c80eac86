#!/usr/bin/env node
/**
 * The command line. It loads roles and the laboratory only when they are needed: only this file, `src/cli/` and
 * `src/lab/` may load them. stdout carries results; errors go to stderr, one line each, the code first.
 */
import { Command, CommanderError } from 'commander';
import { addBench } from './cli/bench.js';
import { addFleet } from './cli/fleet.js';
import { addLab } from './cli/lab.js';
import { addLoad } from './cli/load.js';
import { addManual } from './cli/manual.js';
import { addOperate } from './cli/operate.js';
import { integer } from './cli/options.js';
import { addPolicy } from './cli/policy.js';
import { addRoles } from './cli/roles.js';
import { describeError, EXIT, FirstackError } from './errors.js';
import { deriveGateway, newMaster, readKeyFile, writeKeyFile } from './keys.js';
import { VERSION } from './version.js';

let exitCode: number = EXIT.ok;
const exit = (code: number): void => {
  exitCode = code;
};

const root = new Command('firstack')
  .description('The replica nearest to a client carries its connection: the first acknowledgement wins.')
  .version(VERSION, '--version')
  .enablePositionalOptions()
  .showHelpAfterError('(firstack --help lists the commands)')
  .exitOverride();

await addRoles(root, exit);
root
  .command('keygen')
  .description('make a master key file, or derive a gateway key file from one')
  .requiredOption('--out <file>', 'file to write; never overwritten')
  .option('--from <file>', 'master key file to derive from')
  .option('--gateway <id>', 'gateway id to derive for', integer(0, 65535))
  .action(({ out, from, gateway }: { out: string; from?: string; gateway?: number }) => {
    if ((from === undefined) !== (gateway === undefined))
      throw new FirstackError('FSA_USAGE', '--from and --gateway go together');
    writeKeyFile(
      out,
      from === undefined ? newMaster() : deriveGateway(readKeyFile(from, 'master'), gateway!),
    );
  });

addFleet(root);
addPolicy(root);
addOperate(root, exit);
addLoad(root, exit);
addBench(root, exit);
addLab(root, exit);
addManual(root, exit, VERSION);

try {
  await root.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else {
    for (const line of describeError(error)) process.stderr.write(`${line}\n`);
    exitCode = error instanceof FirstackError ? error.exitCode : EXIT.expectation;
  }
}
process.exitCode = exitCode;
