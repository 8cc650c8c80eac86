/** `firstack lab`: a laboratory of network namespaces on this machine. */
import { type Command, Option } from 'commander';
import { configurationOption, raceOption, releaseOption } from '../race/flags.js';
import { fastpathOption, integer } from './options.js';

export function addLab(root: Command, exit: (code: number) => void): void {
  const lab = root
    .command('lab')
    .enablePositionalOptions()
    .description('a laboratory of network namespaces on this machine');
  const loadLab = (): Promise<typeof import('../lab/commands.js')> => import('../lab/commands.js');
  const nameOption = (): Option => new Option('--name <name>', 'name of the laboratory').default('default');
  const registryOption = (): Option =>
    new Option('--registry <kind>', 'coordinate the roles through')
      .choices(['redis', 'file'])
      .default('redis');

  lab
    .command('run')
    .description('send requests, count which machine served them, and remove everything')
    .addOption(configurationOption(['all']).makeOptionMandatory())
    .option('--requests <n>', 'requests per configuration', integer(1, 1_000_000), 20)
    .option('--concurrency <n>', 'requests at once', integer(1, 1000), 8)
    .option('--topology <file>', 'topology file (YAML)')
    .option('--json', 'print one JSON array', false)
    .addOption(raceOption().default('origin'))
    .addOption(releaseOption().default('synchronized'))
    .addOption(fastpathOption().default('auto'))
    .addOption(registryOption())
    .addOption(nameOption())
    .action(async (options) => {
      exit(await (await loadLab()).labRun(options));
    });
  lab
    .command('up')
    .description('start a laboratory and leave it running')
    .addOption(configurationOption().makeOptionMandatory())
    .option('--topology <file>', 'topology file (YAML)')
    .addOption(raceOption().default('origin'))
    .addOption(releaseOption().default('synchronized'))
    .addOption(fastpathOption().default('auto'))
    .addOption(registryOption())
    .addOption(nameOption())
    .action(async (options) => {
      exit(await (await loadLab()).labUp(options));
    });
  lab
    .command('exec')
    .description('run a command on a host of the laboratory: lab exec HOST -- COMMAND')
    .argument('<host>')
    .argument('<command...>')
    .addOption(nameOption())
    .passThroughOptions()
    .action(async (host: string, command: string[], options: { name: string }) => {
      // Everything after HOST belongs to the command; only a `--` that comes first is an option of `lab exec`.
      const own = command[0] === '--' ? command.slice(1) : command;
      exit(await (await loadLab()).labExec({ ...options, host, command: own }));
    });
  lab
    .command('down')
    .description('remove a laboratory')
    .addOption(nameOption())
    .action(async (options) => {
      exit(await (await loadLab()).labDown(options));
    });
  lab
    .command('demo')
    .description('show every configuration step by step')
    .option('--topology <file>', 'topology file (YAML)')
    .option('--requests <n>', 'requests per configuration', integer(1, 10_000), 20)
    .action(async (options) => {
      exit(await (await loadLab()).labDemo(options));
    });
}
