/**
 * Role files: what all of them have in common, how flags and environment stand over them, and how a file names programs.
 *
 * `programs: {race: {…}, routing: {…}}` has one part per program, beside the keys of the role. A file without `programs`
 * is one program's, the race's unless `--program` says another, whose keys stand beside the role's.
 */
import { type Locate, type Parsed, readYaml, type Schema } from './config.js';
import { FirstackError, type Problem } from './errors.js';
import { FASTPATHS, type Fastpath } from './fastpath/modes.js';
import type { Program } from './program.js';
import type { TlsFiles } from './registry/connect.js';
import { type Allocation, allocate, type RoleName } from './steer/marks.js';

/** What the command line gave; undefined where it gave nothing. Programs add flags of their own. */
export interface RoleFlags {
  configFile: string;
  /** Whose keys stand in a file without `programs`. */
  program?: string;
  registry?: string;
  fastpath?: string;
  check?: boolean;
  unpin?: boolean;
  [flag: string]: unknown;
}

/** The part of a role file that belongs to the role, whatever its programs. */
export interface RoleConfig {
  instance: string;
  lan: string[];
  wan: string[];
  registry: string;
  registryTls?: TlsFiles;
  admin: { listen: string };
  log: string;
}

/** What a program is created with: the role's keys and its own. */
export interface ProgramConfig extends RoleConfig {
  tun: { name: string; mtu?: number; queueLength: number; pcapFile?: string };
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  fastpath: { mode: Fastpath; pinAfterPackets: number };
  steering: Omit<Allocation, 'tun'>;
}

/** A role's own part of the schema. */
export interface RoleSchema {
  properties: Record<string, Schema>;
  required: string[];
  /** What is wrong with the role's part beyond the schema. */
  // biome-ignore lint/suspicious/noExplicitAny: each role has a site of its own
  problems?(value: any, locate: Locate): Problem[];
}

/** What a role file comes to. */
export interface RoleFile {
  role: RoleConfig;
  programs: { program: Program; config: ProgramConfig }[];
}

const seconds = (n: number): number => n * 1000;
const timeout = (fallback: number): Schema => ({ type: 'integer', minimum: 100, default: fallback });
const interfaceName: Schema = { type: 'string', pattern: '^[^\\s/]{1,15}$' };
export const interfaceNames: Schema = { type: 'array', items: interfaceName, minItems: 1 };
export const noInterfaces: Schema = { ...interfaceNames, minItems: 0, default: [] };

const group = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: 'object',
  additionalProperties: false,
  default: {},
  properties,
  required,
});

/** The keys of {@link RoleConfig}. @param adminPort the default of `admin.listen` on loopback */
export function roleProperties(adminPort: number): Record<string, Schema> {
  return {
    instance: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' },
    lan: interfaceNames,
    wan: interfaceNames,
    registry: { type: 'string' },
    registryTls: {
      type: 'object',
      additionalProperties: false,
      properties: { caFile: { type: 'string' }, certFile: { type: 'string' }, keyFile: { type: 'string' } },
      dependencies: { certFile: ['keyFile'], keyFile: ['certFile'] },
    },
    admin: group({ listen: { type: 'string', default: `127.0.0.1:${adminPort}` } }),
    log: { enum: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'], default: 'info' },
  };
}

/** The keys that every program with a data half has: its TUN, its flows, its marks. */
export function programProperties(a: Allocation): Record<string, Schema> {
  const word: Schema = { type: 'integer', minimum: 1, maximum: 0xffffffff };
  return {
    tun: group({
      name: { ...interfaceName, default: a.tun },
      mtu: { type: 'integer', minimum: 576, maximum: 65535 },
      queueLength: { type: 'integer', minimum: 64, maximum: 1_000_000, default: 4096 },
      pcapFile: { type: 'string', minLength: 1 },
    }),
    flows: group({
      max: { type: 'integer', minimum: 16, maximum: 8_388_608, default: 262_144 },
      openingTimeoutMs: timeout(seconds(240)),
      establishedTimeoutMs: timeout(seconds(7440)),
      closingTimeoutMs: timeout(seconds(240)),
    }),
    fastpath: group({
      mode: { enum: [...FASTPATHS], default: 'auto' },
      pinAfterPackets: { type: 'integer', minimum: 0, maximum: 65535, default: 0 },
    }),
    steering: group({
      mark: { ...word, default: a.mark },
      tunnelMark: { ...word, default: a.tunnelMark },
      pinnedMark: { ...word, default: a.pinnedMark },
      mask: { ...word, default: a.mask },
      table: { ...word, default: a.table },
      tunnelTable: { ...word, default: a.tunnelTable },
      priority: { type: 'integer', minimum: 1, maximum: 32765, default: a.priority },
    }),
  };
}

/** Flags, then environment, over the role's part of the file. */
function roleOverrides(flags: RoleFlags): Record<string, unknown> {
  const env = process.env;
  const listen = env.FIRSTACK_ADMIN_LISTEN;
  return {
    instance: env.FIRSTACK_INSTANCE,
    registry: flags.registry ?? env.FIRSTACK_REGISTRY,
    log: env.FIRSTACK_LOG,
    ...(listen === undefined ? {} : { admin: { listen } }),
  };
}

/** The same over a program's part. */
function programOverrides(program: Program, flags: RoleFlags): Record<string, unknown> {
  const fastpath = flags.fastpath ?? process.env.FIRSTACK_FASTPATH;
  const own = program.overrides?.(flags) ?? {};
  return fastpath === undefined ? own : { ...own, fastpath: { mode: fastpath } };
}

/** Reads `programs` before anything is validated: it says what the rest must look like. */
const ANY: Schema = { type: 'object', properties: { programs: { type: 'object' } } };

/** The program whose keys stand in a file without `programs`. */
export const DEFAULT_PROGRAM = 'race';

/**
 * @param load loads a program of this role by name; undefined where it has none of this name
 * @throws FirstackError FSA_CONFIG_*, FSA_USAGE: all problems of the file at once
 */
export async function readRoleFile(
  flags: RoleFlags,
  role: RoleName,
  own: RoleSchema,
  names: readonly string[],
  load: (name: string) => Promise<Program | undefined>,
): Promise<RoleFile> {
  const file = readYaml<{ programs?: Record<string, unknown> }>(flags.configFile, ANY);
  const several = file.value.programs !== undefined;
  const wanted = several ? Object.keys(file.value.programs!) : [flags.program ?? DEFAULT_PROGRAM];
  if (several && flags.program !== undefined && !wanted.includes(flags.program))
    throw new FirstackError('FSA_USAGE', `--program ${flags.program}: the file has no part of this name`);
  const chosen = several && flags.program !== undefined ? [flags.program] : wanted;
  const programs: Program[] = [];
  for (const name of wanted) {
    const program = names.includes(name) ? await load(name) : undefined;
    if (program !== undefined) programs.push(program);
    else if (!several) throw new FirstackError('FSA_USAGE', `the role ${role} has no program '${name}'`);
  }
  const parsed = several
    ? readSeveral(flags, role, own, programs, names)
    : readOne(flags, role, own, programs[0]);
  const { value, locate } = parsed;
  const running = programs.filter((p) => chosen.includes(p.name));
  const parts = running.map((program) => ({
    program,
    config: Object.freeze({ ...pick(value, own), ...(several ? value.programs[program.name] : value) }),
  })) as unknown as RoleFile['programs'];
  const site = pick(value, own);
  const beyond = parts.flatMap(({ program, config }): Problem[] => {
    const at: Locate = (path) =>
      several && !(String(path[0]) in own.properties) && path.length > 0
        ? locate(['programs', program.name, ...path])
        : locate(path);
    return program.problems?.(config, at, flags) ?? [];
  });
  const problems = [...(own.problems?.(site, locate) ?? []), ...beyond];
  if (problems.length > 0) throw FirstackError.ofProblems(problems);
  return { role: site as unknown as RoleConfig, programs: parts };
}

type Raw = Record<string, unknown> & { programs: Record<string, object> };

const pick = (value: Raw, { properties }: RoleSchema): Record<string, unknown> =>
  Object.fromEntries(Object.entries(value).filter(([key]) => key in properties));

function readOne(flags: RoleFlags, role: RoleName, own: RoleSchema, program: Program): Parsed<Raw> {
  const part = program.schema(allocate(program.number, role));
  const schema: Schema = {
    type: 'object',
    additionalProperties: false,
    properties: { ...own.properties, ...part.properties },
    required: [...own.required, ...part.required],
  };
  return readYaml<Raw>(flags.configFile, schema, {
    ...roleOverrides(flags),
    ...programOverrides(program, flags),
  });
}

function readSeveral(
  flags: RoleFlags,
  role: RoleName,
  own: RoleSchema,
  programs: readonly Program[],
  names: readonly string[],
): Parsed<Raw> {
  const parts = Object.fromEntries(
    programs.map((program) => {
      const { properties, required } = program.schema(allocate(program.number, role));
      return [program.name, { type: 'object', additionalProperties: false, properties, required }];
    }),
  );
  // Every name is a known one, so that the hint for a wrong one lists them.
  const known = Object.fromEntries(names.map((name) => [name, parts[name] ?? {}]));
  const schema: Schema = {
    type: 'object',
    additionalProperties: false,
    properties: {
      ...own.properties,
      programs: { type: 'object', additionalProperties: false, minProperties: 1, properties: known },
    },
    required: [...own.required, 'programs'],
  };
  const over = programs.map((p) => [p.name, programOverrides(p, flags)]);
  return readYaml<Raw>(flags.configFile, schema, {
    ...roleOverrides(flags),
    programs: Object.fromEntries(over),
  });
}
