/** Reads role files as the roles do, and returns the configuration with which the race is created. */
import { schema as gatewaySchema } from '../../gateway/config.js';
import type { GatewayConfig } from '../../gateway/race/config.js';
import { program as gatewayRace } from '../../gateway/race/program.js';
import { schema as originSchema } from '../../origin/config.js';
import type { OriginConfig } from '../../origin/race/config.js';
import { program as originRace } from '../../origin/race/program.js';
import { schema as replicaSchema } from '../../replica/config.js';
import type { ReplicaConfig } from '../../replica/race/config.js';
import { program as replicaRace } from '../../replica/race/program.js';
import type { RoleFlags } from '../../src/role-config.js';
import { readRoleFile } from '../../src/role-file.js';

export const readGatewayConfig = (flags: RoleFlags): GatewayConfig =>
  readRoleFile(flags, 'gateway', gatewaySchema, [gatewayRace]).programs[0].config as GatewayConfig;
export const readOriginConfig = (flags: RoleFlags): OriginConfig =>
  readRoleFile(flags, 'origin', originSchema, [originRace]).programs[0].config as OriginConfig;
export const readReplicaConfig = (flags: RoleFlags): ReplicaConfig =>
  readRoleFile(flags, 'replica', replicaSchema, [replicaRace]).programs[0].config as ReplicaConfig;
