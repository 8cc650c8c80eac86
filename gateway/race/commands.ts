/** The race's commands that query a gateway: `firstack explain`, `races`, `proximity`; and the gateway's own flags. */
import { Option } from 'commander';
import { integer, positive } from '../../src/cli/options.js';
import type { CommandLine } from '../../src/program.js';
import { configurationOption, raceOption, releaseOption } from '../../src/race/flags.js';

const ask = (): Promise<typeof import('./ask.js')> => import('./ask.js');
const adminOption = (): Option =>
  new Option(
    '--admin <address>',
    "the gateway's admin.listen: HOST:PORT or unix:PATH (default: this host's gateway)",
  );

const labOption = (): Option => new Option('--lab <name>', 'the gateway of a laboratory');

export function addCommands({ root, role, exit }: CommandLine): void {
  role.addOption(configurationOption()).addOption(raceOption()).addOption(releaseOption());
  root
    .command('explain')
    .description('which machine carries a connection, and why: explain CLIENT:PORT, or explain last')
    .argument('<which>')
    .addOption(adminOption())
    .addOption(labOption())
    .option('--origin <address>', "the origin's admin.listen: adds its record of the race")
    .option('--json', 'print JSON', false)
    .action(async (which: string, options) => {
      exit(await (await ask()).explain(which, options));
    });
  root
    .command('races')
    .description('the latest races of a gateway')
    .addOption(adminOption())
    .addOption(labOption())
    .option('--follow', 'print each new race', false)
    .option('--last <n>', 'how many past races', integer(1, 4096), 10)
    .option('--json', 'print one JSON object per line', false)
    .action(async (options) => {
      exit(await (await ask()).races(options));
    });
  root
    .command('flows')
    .description('the connections that a gateway carries: client, service, machine, state, idle time, pinned')
    .addOption(adminOption())
    .addOption(labOption())
    .option('--client <address>', "only this client's")
    .option('--machine <id>', 'only those that this machine carries')
    .option('--limit <n>', 'how many at the most', integer(1, 10_000), 100)
    .option('--json', 'print JSON', false)
    .action(async (options) => {
      exit(await (await ask()).flows(options));
    });
  root
    .command('top')
    .description('what each machine does now: connections, requests, times and failures of the last interval')
    .addOption(adminOption())
    .addOption(labOption())
    .option('--interval <seconds>', 'time between two looks', positive, 2)
    .option('--rounds <n>', 'end after so many looks', integer(1, 1_000_000))
    .option('--json', 'print one JSON object per look', false)
    .action(async (options) => {
      exit(await (await import('./top.js')).top(options));
    });
  root
    .command('paths')
    .description('the paths to the replicas, by probes: the largest packet that arrives each way, and how')
    .addOption(adminOption())
    .addOption(labOption())
    .option('--json', 'print JSON', false)
    .action(async (options) => {
      exit(await (await ask()).paths(options));
    });
  root
    .command('proximity')
    .description('which machine wins for which clients, as a gateway has learned it')
    .addOption(adminOption())
    .addOption(labOption())
    .option('--service <name>', 'of this service only')
    .option('--client <address>', 'of this client only')
    .option('--top <n>', 'how many machines of each prefix, the nearest first', integer(1, 32), 5)
    .option('--limit <n>', 'how many prefixes, those used last first', integer(1, 10_000), 100)
    .option('--svg <file>', 'writes a picture: all machines by round trip, and who wins')
    .option('--json', 'print JSON', false)
    .action(async (options) => {
      exit(await (await import('./ask-proximity.js')).proximity(options));
    });
}
