/**
 * Reads a role file: how flags and environment override it, and how it names programs.
 *
 * `programs: {race: {…}, routing: {…}}` has one part per program, beside the keys of the role. A file without
 * `programs` is for one program, whose keys stand beside the role's: the race, unless `--program` names another.
 */
import { type Locate, type Parsed, readYaml, type Schema } from './config.js';
import { FirstackError, type Problem } from './errors.js';
import type { Program } from './program.js';
import type { ProgramConfig, RoleConfig, RoleFlags, RoleSchema } from './role-config.js';
import { allocate, type RoleName } from './steer/marks.js';

/** The result of reading a role file. */
export interface RoleFile {
  role: RoleConfig;
  programs: { program: Program; config: ProgramConfig }[];
}

/** Overrides of the role's part of the file: flags, then environment. */
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

/** Overrides of a program's part. */
function programOverrides(program: Program, flags: RoleFlags): Record<string, unknown> {
  const fastpath = flags.fastpath ?? process.env.FIRSTACK_FASTPATH;
  const own = program.overrides?.(flags) ?? {};
  return fastpath === undefined ? own : { ...own, fastpath: { mode: fastpath } };
}

/** The schema for reading `programs` before anything is validated, because the rest of the schema follows from it. */
const ANY: Schema = { type: 'object', properties: { programs: { type: 'object' } } };

/** The program of a file without `programs`. */
export const DEFAULT_PROGRAM = 'race';

/**
 * @param available the role's programs
 * @throws FirstackError FSA_CONFIG_*, FSA_USAGE: all problems of the file at once
 */
export function readRoleFile(
  flags: RoleFlags,
  role: RoleName,
  own: RoleSchema,
  available: readonly Program[],
): RoleFile {
  const file = readYaml<{ programs?: Record<string, unknown> }>(flags.configFile, ANY);
  const several = file.value.programs !== undefined;
  const wanted = several ? Object.keys(file.value.programs!) : [flags.program ?? DEFAULT_PROGRAM];
  if (several && flags.program !== undefined && !wanted.includes(flags.program))
    throw new FirstackError('FSA_USAGE', `--program ${flags.program}: the file has no part of this name`);
  const chosen = several && flags.program !== undefined ? [flags.program] : wanted;
  const programs = available.filter((p) => wanted.includes(p.name));
  if (!several && programs.length === 0)
    throw new FirstackError('FSA_USAGE', `the role ${role} has no program '${wanted[0]}'`);
  const names = available.map((p) => p.name);
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
  // Every available name is a known key, so that the hint for a wrong name lists them.
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
