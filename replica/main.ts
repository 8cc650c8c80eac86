/** The replica role, which runs on a server's host. */
import { runRole } from '../src/role.js';
import type { RoleFlags } from '../src/role-config.js';
import { schema } from './config.js';
import { programs } from './programs.js';

export function main(flags: RoleFlags): Promise<number> {
  return runRole({ name: 'replica', schema, programs }, flags);
}
