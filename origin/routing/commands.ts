/** The commands of service-level routing: `firstack routes`. */
import { Option } from 'commander';
import { integer } from '../../src/cli/options.js';
import type { CommandLine } from '../../src/program.js';

export function addCommands({ root, exit }: CommandLine): void {
  root
    .command('routes')
    .description(
      'the virtual hosts of a service-level router: members, costs, weights, who is chosen and why',
    )
    .addOption(
      new Option(
        '--admin <address>',
        "the router's admin.listen: HOST:PORT or unix:PATH (default: this host's router)",
      ),
    )
    .addOption(new Option('--lab <name>', 'a router of a laboratory'))
    .addOption(new Option('--router <name>', 'with --lab: which one').default('n1'))
    .option(
      '--flow <client>',
      'CLIENT:PORT ([ADDRESS]:PORT over IPv6): where this connection goes, and why; needs --to',
    )
    .option('--to <service>', 'with --flow: the virtual host, ADDRESS:PORT')
    .option('--udp', 'with --flow: of UDP', false)
    .option('--flows', 'the flows that it knows: client, service, member, state, rule', false)
    .option('--client <address>', "with --flows: only this client's")
    .option('--member <id>', 'with --flows: only those of this member')
    .option('--limit <n>', 'with --flows: how many at the most', integer(1, 10_000), 100)
    .option('--shares', 'what left in each class of the access link', false)
    .option('--json', 'print JSON', false)
    .action(async (options) => {
      exit(await (await import('./ask.js')).routes(options));
    });
}
