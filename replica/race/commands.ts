/** `firstack replica drain|resume|status`: an operator's commands to one replica; and the replica's own flags. */
import type { Command } from 'commander';
import { integer } from '../../src/cli/options.js';
import type { CommandLine } from '../../src/program.js';
import { configurationOption, raceOption, releaseOption } from '../../src/race/flags.js';

const ask = (): Promise<typeof import('./ask.js')> => import('./ask.js');

export function addCommands({ role, exit }: CommandLine): void {
  role.addOption(configurationOption()).addOption(raceOption()).addOption(releaseOption());
  const command = (name: string, description: string): Command =>
    role
      .command(name)
      .description(description)
      .option(
        '--admin <address>',
        "the replica's admin.listen: HOST:PORT or unix:PATH (default: this host's replica)",
      )
      .option('--lab <name/host>', 'a replica of a laboratory: NAME/r2')
      .option('--json', 'print JSON', false);
  command('drain', 'take no new connections; keep the existing ones')
    .option('--wait', 'return only when the last connection has ended', false)
    .option('--timeout <s>', 'seconds to wait at most', integer(1, 1_000_000), 3600)
    .action(async (options) => {
      exit(await (await ask()).drain(options));
    });
  command('resume', 'take new connections again').action(async (options) => {
    exit(await (await ask()).resume(options));
  });
  command('status', 'print the state of the replica').action(async (options) => {
    exit(await (await ask()).status(options));
  });
}
