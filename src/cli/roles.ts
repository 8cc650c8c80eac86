/**
 * `firstack gateway|origin|replica`, with the commands and flags that each role's programs add. The command line
 * lists no program: it loads the roles' lists by a computed path, because no other file of `src/` may load a role.
 */
import type { Command } from 'commander';
import { FirstackError } from '../errors.js';
import type { ProgramEntry } from '../program.js';
import type { RoleFlags } from '../role-config.js';
import { ROLES, type RoleName } from '../steer/marks.js';
import { fastpathOption } from './options.js';

const DESCRIPTIONS: Record<RoleName, string> = {
  gateway: 'run on the gateway router of the clients',
  origin: 'run on the router or switch before the origin server',
  replica: 'run on each replica web server',
};

const load = (role: RoleName, file: string): Promise<unknown> =>
  import(new URL(`../../${role}/${file}.js`, import.meta.url).href);

export async function addRoles(root: Command, exit: (code: number) => void): Promise<void> {
  for (const name of ROLES) {
    const role = addRole(root, name, exit);
    const { programs } = (await load(name, 'programs')) as { programs: readonly ProgramEntry[] };
    for (const { commands } of programs) (await commands?.())?.addCommands({ root, role, exit });
  }
}

function addRole(root: Command, name: RoleName, exit: (code: number) => void): Command {
  const command = root
    .command(name)
    .enablePositionalOptions()
    .description(DESCRIPTIONS[name])
    .option('--config-file <file>', 'role file (YAML); required')
    .option(
      '--program <name>',
      'run only this program; or the program of a file without `programs` (default: race)',
    )
    .option(
      '--registry <url>',
      'redis://HOST:PORT, rediss://…, redis+unix:///PATH, redis+sentinel://HOST:PORT,…/MASTER or file:PATH',
    )
    .option('--check', 'validate, print the steering, change nothing')
    .action(async (flags: Partial<RoleFlags>) => {
      // Checked here, because commander would require the option of a subcommand too.
      if (flags.configFile === undefined)
        throw new FirstackError('FSA_USAGE', "required option '--config-file <file>' not specified");
      const { main } = (await load(name, 'main')) as { main(flags: RoleFlags): Promise<number> };
      exit(await main({ ...flags, configFile: flags.configFile }));
    });
  return command
    .addOption(fastpathOption())
    .option('--unpin', 'remove what a killed process left in the kernel, which ends its connections');
}
