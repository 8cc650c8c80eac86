/** The commands that ask running roles, whatever their programs: `firstack status`, `doctor`, `events`. */
import { type Command, Option } from 'commander';

const several = (value: string, before: string[] = []): string[] => [...before, value];

/** Names the roles that a command asks. */
function asking(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--admin <address>',
        "a role's admin.listen, HOST:PORT or unix:PATH; may be given several times (default: this host's roles)",
      ).argParser(several),
    )
    .option('--lab <name>', 'the roles of a laboratory')
    .option('--json', 'print JSON', false);
}

export function addOperate(root: Command, exit: (code: number) => void): void {
  asking(root.command('status'))
    .description('every role, service and machine: intended, measured, reported, and who is left out and why')
    .action(async (options) => {
      exit(await (await import('../operate/status.js')).status(options));
    });
  asking(root.command('doctor'))
    .description('what is wrong, one finding per cause, each with the line to run; changes nothing')
    .action(async (options) => {
      exit(await (await import('../operate/doctor.js')).doctor(options));
    });
  asking(root.command('events'))
    .description('what changed: repairs, ejections, problems of the host')
    .option('--since <age>', 'how far back: 90s, 15m, 1h, 2d', '1h')
    .option('--follow', 'print each new event', false)
    .action(async (options) => {
      exit(await (await import('../operate/events.js')).events(options));
    });
}
