#!/usr/bin/env node
/**
 * The command line. Roles and laboratory are loaded only when asked for: this file and `src/lab/` alone
 * may do so. stdout carries results; errors go to stderr, one line each, the code first.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { describeError, EXIT, FirstackError } from './errors.js';
import { FASTPATHS } from './fastpath/modes.js';
import { deriveGateway, newMaster, readKeyFile, writeKeyFile } from './keys.js';
import { RACES, RELEASES } from './race/release.js';
import { CONFIGURATIONS } from './registry/records.js';
import type { RoleFlags } from './role-config.js';

type RoleModule = { main(flags: RoleFlags): Promise<number> };

let exitCode: number = EXIT.ok;

const program = new Command('firstack')
  .description('The replica nearest to a client carries its connection: the first acknowledgement wins.')
  .enablePositionalOptions()
  .showHelpAfterError('(firstack --help lists the commands)')
  .exitOverride();

const configurationOption = (more: string[] = []): Option =>
  new Option(
    '--configuration <A|B|C>',
    'A: translate both ways, B: replicas spoof the origin, C: tunnel',
  ).choices([...CONFIGURATIONS, ...more]);
const raceOption = (): Option =>
  new Option('--race <race>', 'who sends the copies of a SYN').choices([...RACES]);
const releaseOption = (): Option =>
  new Option(
    '--release <release>',
    'hold copies so that all arrive at once, or send them as published',
  ).choices([...RELEASES]);

const fastpathOption = (): Option =>
  new Option('--fastpath <mode>', 'carry decided flows in the kernel (eBPF)').choices([...FASTPATHS]);

function role(name: 'gateway' | 'origin' | 'replica', description: string): Command {
  const command = program
    .command(name)
    .enablePositionalOptions()
    .description(description)
    .option('--config-file <file>', 'role file (YAML); required')
    .addOption(configurationOption())
    .option(
      '--registry <url>',
      'redis://HOST:PORT, rediss://…, redis+unix:///PATH, redis+sentinel://HOST:PORT,…/MASTER or file:PATH',
    )
    .addOption(raceOption())
    .addOption(releaseOption())
    .option('--check', 'validate, print what would be steered, change nothing')
    .action(async (flags: Partial<RoleFlags>) => {
      // Not by commander: it would ask a subcommand for it too.
      if (flags.configFile === undefined)
        throw new FirstackError('FSA_USAGE', "required option '--config-file <file>' not specified");
      // By a computed path: the compiler follows none of the roles from here.
      const { main } = (await import(new URL(`../${name}/main.js`, import.meta.url).href)) as RoleModule;
      exitCode = await main({ ...flags, configFile: flags.configFile });
    });
  if (name === 'origin') return command;
  return command
    .addOption(fastpathOption())
    .option('--unpin', 'take away what a killed process left in the kernel: its connections end');
}
role('gateway', 'run on the gateway router of the clients');
role('origin', 'run on the router or switch before the origin server');
const replica = role('replica', 'run on each replica web server');

const integer =
  (least: number, most: number) =>
  (text: string): number => {
    const n = Number(text);
    if (!/^\d+$/.test(text) || n < least || n > most)
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}`);
    return n;
  };

const positive = (text: string): number => {
  const n = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || n <= 0) throw new InvalidArgumentError('a number above 0');
  return n;
};

program
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

const loadAdmin = (): Promise<typeof import('../gateway/race/ask.js')> => import('../gateway/race/ask.js');
const adminOption = (): Option =>
  new Option('--admin <address>', "the gateway's admin.listen: HOST:PORT or unix:PATH").default(
    '127.0.0.1:7411',
  );

const loadReplica = (): Promise<typeof import('../replica/race/ask.js')> => import('../replica/race/ask.js');
const replicaCommand = (name: string, description: string): Command =>
  replica
    .command(name)
    .description(description)
    .option('--admin <address>', "the replica's admin.listen: HOST:PORT or unix:PATH", '127.0.0.1:7413')
    .option('--json', 'print JSON', false);
replicaCommand('drain', 'no new connections; those that it has go on')
  .option('--wait', 'return when the last connection has ended', false)
  .option('--timeout <s>', 'seconds to wait at most', integer(1, 1_000_000), 3600)
  .action(async (options) => {
    exitCode = await (await loadReplica()).drain(options);
  });
replicaCommand('resume', 'back in service').action(async (options) => {
  exitCode = await (await loadReplica()).resume(options);
});
replicaCommand('status', 'what it says of itself').action(async (options) => {
  exitCode = await (await loadReplica()).status(options);
});

program
  .command('explain')
  .description('why a connection was carried by whom: explain CLIENT:PORT, or explain last')
  .argument('<which>')
  .addOption(adminOption())
  .option('--origin <address>', "the origin's admin.listen: joins its account of the race")
  .option('--json', 'print JSON', false)
  .action(async (which: string, options) => {
    exitCode = await (await loadAdmin()).explain(which, options);
  });
program
  .command('races')
  .description('the latest races of a gateway')
  .addOption(adminOption())
  .option('--follow', 'go on, race by race', false)
  .option('--last <n>', 'how many of those that were', integer(1, 4096), 10)
  .option('--json', 'print one JSON object per line', false)
  .action(async (options) => {
    exitCode = await (await loadAdmin()).races(options);
  });
program
  .command('proximity')
  .description('who wins for whom, as a gateway has learned it')
  .addOption(adminOption())
  .option('--json', 'print JSON', false)
  .action(async (options) => {
    exitCode = await (await loadAdmin()).proximity(options);
  });

program
  .command('load')
  .description('open-loop load: connections at a given rate, timed from when each was due')
  .argument('[url]', 'http://HOST[:PORT]/PATH')
  .option('--lab <name>', 'from the client of a laboratory that is up, to its first service')
  .option('--path <path>', 'with --lab: instead of a file whose hash is known')
  .option('--rate <n>', 'arrivals a second (default: 50)')
  .option('--duration <time>', 'as in 500ms, 30s, 2m (default: 10s)')
  .option('--ramp <stages>', 'instead of both, FROM:TO:DURATION, joined by comma: 50:500:30s,500:500:1m')
  .option('--arrivals <kind>', 'uniform or poisson (default: uniform)')
  .option('--seed <n>', 'of poisson arrivals (default: by lot, and printed)')
  .option('--mode <mode>', 'http: GET; connect: TCP alone (default: http)')
  .option(
    '--sha256 <hex>',
    'what every body must hash to; given again: or this',
    (hash: string, more: string[] = []) => [...more, hash],
  )
  .option('--verify', 'every body must be as one that is fetched before the run')
  .option('--served-by-header <name>', 'response header that names the replica (default: x-served-by)')
  .option('--max-open <n>', 'connections at a time; arrivals beyond are missed (default: 1000)')
  .option('--timeout <time>', 'for one connection, from its opening (default: 10s)')
  .option('--progress', 'a progress bar on stderr, even where that is no terminal')
  .option('--svg <file>', 'draw a plot')
  .option('--json', 'print one JSON object')
  .action(async (url: string | undefined, { lab, path, ...options }) => {
    if (path !== undefined && lab === undefined)
      throw new FirstackError('FSA_USAGE', '--path goes with --lab; a URL has its own');
    exitCode =
      lab === undefined
        ? await (await import('./load/command.js')).load(url, options)
        : await (await import('./lab/load.js')).labLoad(url, { ...options, lab, path });
  });

const bench = program.command('bench').description('measure, on this machine');
bench
  .command('race')
  .description('how often each mode of the race finds the nearest machine, and what it costs')
  .option('--topologies <n>', 'random topologies', integer(2, 1000), 40)
  .option('--seed <n>', 'seed of the topologies', integer(0, 2 ** 31), 1)
  .option('--svg <file>', 'draw a plot')
  .option('--markdown <file>', 'write the page')
  .option('--json', 'print one JSON array', false)
  .action(async (options) => {
    exitCode = await (await import('./lab/bench/race.js')).benchRace(options);
  });
bench
  .command('registry')
  .description('what fleets of three sizes, or of one, ask of one Redis')
  .option('--replicas <n>', 'size of the fleet', integer(10, 15_000))
  .option('--gateways <n>', 'size of the fleet', integer(1, 4000))
  .option('--seconds <n>', 'how long each is measured', integer(3, 3600), 20)
  .option('--markdown <file>', 'write the table')
  .option('--json', 'print one JSON array', false)
  .action(async (options) => {
    exitCode = await (await import('./lab/bench/registry.js')).benchRegistry(options);
  });

bench
  .command('soak')
  .description(
    'connections at a rate for minutes, to all three configurations, while replicas come, go and die',
  )
  .option('--minutes <n>', 'how long', positive, 20)
  .option('--rate <n>', 'new connections a second', integer(1, 500), 200)
  .option('--seed <n>', 'of the events, and of the arrivals', integer(0, 2 ** 31 - 2), 1)
  .option('--every <s>', 'mean seconds between two events', positive, 5)
  .option('--svg <file>', 'draw a plot')
  .option('--json', 'print one JSON array', false)
  .action(async (options) => {
    exitCode = await (await import('./lab/bench/soak.js')).benchSoak(options);
  });

const loadSpeed = (): Promise<typeof import('./lab/bench/speed.js')> => import('./lab/bench/speed.js');
const SPEED = {
  throughput: 'bytes a second of one flow and of eight, beside plain routing, nftables, HAProxy and C',
  connect: 'connections a second, beside nftables and HAProxy',
  packets: 'minimum-size packets a second, and what the kernel programs take for one',
  flows: 'a million flows; flows pinned in mid-transfer; flows whose gateway is killed',
} as const;
for (const [part, description] of [...Object.entries(SPEED), ['all', 'these four']]) {
  bench
    .command(part)
    .description(description)
    .option('--quick', 'fewer and shorter rounds: to see that it works', false)
    .option('--svg <file>', 'draw the quotients')
    .option('--markdown <file>', 'write the page')
    .option('--json', 'print one JSON array', false)
    .action(async (options) => {
      const { benchSpeed, PARTS } = await loadSpeed();
      exitCode = await benchSpeed(
        PARTS.filter((p) => part === 'all' || p === part),
        options,
      );
    });
}
bench
  .command('profile')
  .description('where the time of arms goes, function by function, two by two (needs perf)')
  .option('--markdown <file>', 'write the page')
  .option('--json', 'print one JSON array', false)
  .action(async (options) => {
    exitCode = await (await import('./lab/bench/profile.js')).benchProfile(options);
  });
bench
  .command('draw')
  .description('draw and describe what an earlier run printed with --json')
  .argument('<file>')
  .option('--svg <file>', 'draw the quotients')
  .option('--markdown <file>', 'write the page')
  .action(async (file: string, options) => {
    exitCode = await (await loadSpeed()).benchDraw(file, options);
  });

const lab = program
  .command('lab')
  .enablePositionalOptions()
  .description('a laboratory of network namespaces on this machine');
const loadLab = (): Promise<typeof import('./lab/commands.js')> => import('./lab/commands.js');
const nameOption = (): Option => new Option('--name <name>', 'name of the laboratory').default('default');
const registryOption = (): Option =>
  new Option('--registry <kind>', 'coordinate the roles through').choices(['redis', 'file']).default('redis');

lab
  .command('run')
  .description('race, count who served, and take everything down')
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
    exitCode = await (await loadLab()).labRun(options);
  });
lab
  .command('up')
  .description('bring a laboratory up and leave it running')
  .addOption(configurationOption().makeOptionMandatory())
  .option('--topology <file>', 'topology file (YAML)')
  .addOption(raceOption().default('origin'))
  .addOption(releaseOption().default('synchronized'))
  .addOption(fastpathOption().default('auto'))
  .addOption(registryOption())
  .addOption(nameOption())
  .action(async (options) => {
    exitCode = await (await loadLab()).labUp(options);
  });
lab
  .command('exec')
  .description('run a command on a host of the laboratory: lab exec HOST -- COMMAND')
  .argument('<host>')
  .argument('<command...>')
  .addOption(nameOption())
  .passThroughOptions()
  .action(async (host: string, command: string[], options: { name: string }) => {
    // Everything behind HOST is the command's own; the `--` that may come first is ours.
    const own = command[0] === '--' ? command.slice(1) : command;
    exitCode = await (await loadLab()).labExec({ ...options, host, command: own });
  });
lab
  .command('down')
  .description('take a laboratory down')
  .addOption(nameOption())
  .action(async (options) => {
    exitCode = await (await loadLab()).labDown(options);
  });
lab
  .command('demo')
  .description('show every configuration to a person')
  .option('--topology <file>', 'topology file (YAML)')
  .option('--requests <n>', 'requests per configuration', integer(1, 10_000), 20)
  .action(async (options) => {
    exitCode = await (await loadLab()).labDemo(options);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else {
    for (const line of describeError(error)) process.stderr.write(`${line}\n`);
    exitCode = error instanceof FirstackError ? error.exitCode : EXIT.expectation;
  }
}
process.exitCode = exitCode;
