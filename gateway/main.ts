/** The gateway role, which runs on the clients' router. */
import { runRole } from '../src/role.js';
import type { RoleFlags } from '../src/role-config.js';
import { schema } from './config.js';
import { programs } from './programs.js';

export function main(flags: RoleFlags): Promise<number> {
  return runRole({ name: 'gateway', schema, programs }, flags);
}
