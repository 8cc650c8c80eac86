/** `firstack load`: open-loop load. */
import type { Command } from 'commander';
import { FirstackError } from '../errors.js';

export function addLoad(root: Command, exit: (code: number) => void): void {
  root
    .command('load')
    .description('open-loop load: connections at a given rate, timed from when each is due')
    .argument('[url]', 'http://HOST[:PORT]/PATH')
    .option('--lab <name>', 'from the client of a laboratory that is up, to its first service')
    .option('--path <path>', 'with --lab: path to request instead of a file with a known hash')
    .option('--rate <n>', 'arrivals a second (default: 50)')
    .option('--duration <time>', 'as in 500ms, 30s, 2m (default: 10s)')
    .option(
      '--ramp <stages>',
      'instead of rate and duration: FROM:TO:DURATION,…, as in 50:500:30s,500:500:1m',
    )
    .option('--arrivals <kind>', 'uniform or poisson (default: uniform)')
    .option('--seed <n>', 'seed of poisson arrivals (default: random, and printed)')
    .option('--mode <mode>', 'http: GET; connect: TCP alone (default: http)')
    .option(
      '--sha256 <hex>',
      'SHA-256 that every body must have; may be given several times',
      (hash: string, more: string[] = []) => [...more, hash],
    )
    .option('--verify', 'every body must equal a body that is fetched before the run')
    .option('--served-by-header <name>', 'response header that names the replica (default: x-served-by)')
    .option('--max-open <n>', 'most connections at a time; arrivals above are missed (default: 1000)')
    .option('--timeout <time>', 'for one connection, from its opening (default: 10s)')
    .option('--progress', 'a progress bar on stderr, even if stderr is not a terminal')
    .option('--svg <file>', 'draw a plot')
    .option('--json', 'print one JSON object')
    .action(async (url: string | undefined, { lab, path, ...options }) => {
      if (path !== undefined && lab === undefined)
        throw new FirstackError('FSA_USAGE', '--path needs --lab; a URL has a path of its own');
      exit(
        lab === undefined
          ? await (await import('../load/command.js')).load(url, options)
          : await (await import('../lab/load.js')).labLoad(url, { ...options, lab, path }),
      );
    });
}
