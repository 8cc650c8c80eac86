/** `firstack echoes`: the number of datagrams that a role has echoed. */
import { askAdmin } from '../../src/admin/client.js';
import type { CommandLine } from '../../src/program.js';

export function addCommands({ root }: CommandLine): void {
  root
    .command('echoes')
    .requiredOption('--admin <address>', "the role's admin.listen")
    .action(async ({ admin }) => console.log(JSON.stringify(await askAdmin(admin, '/v1/echoes'))));
}
