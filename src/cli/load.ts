/** `firstack load`: open-loop load. */
import type { Command } from 'commander';
import { FirstackError } from '../errors.js';

export function addLoad(root: Command, exit: (code: number) => void): void {
  root
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
      exit(
        lab === undefined
          ? await (await import('../load/command.js')).load(url, options)
          : await (await import('../lab/load.js')).labLoad(url, { ...options, lab, path }),
      );
    });
}
