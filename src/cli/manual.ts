/** What is made from the commands themselves: shell completion, the manual page, the schema of role files. */
import { Argument, type Command } from 'commander';
import { FirstackError } from '../errors.js';
import type { ProgramEntry } from '../program.js';
import type { RoleSchema } from '../role-config.js';
import { allocate, ROLES, type RoleName } from '../steer/marks.js';
import { exampleOf } from './example.js';

/** Every command below this one, with its path from the root: `lab run`. */
export function commandsOf(
  root: Command,
  path: readonly string[] = [],
): { path: string; command: Command }[] {
  return root.commands.flatMap((command) => {
    const own = [...path, command.name()];
    return [{ path: own.join(' '), command }, ...commandsOf(command, own)];
  });
}

const flagsOf = (command: Command): string[] => [
  ...command.options.map((o) => o.long ?? o.short ?? ''),
  '--help',
];

/** A completion script for bash, with every command and option. */
export function completion(root: Command): string {
  const cases = [{ path: '', command: root }, ...commandsOf(root)].map(({ path, command }) => {
    const words = [...command.commands.map((c) => c.name()), ...flagsOf(command)];
    return `    '${path}') words='${words.join(' ')}' ;;`;
  });
  const known = commandsOf(root).map((c) => c.path.replaceAll(' ', '/'));
  return `# bash completion of firstack: firstack completion >/usr/share/bash-completion/completions/firstack
_firstack() {
  local path="" word words known
  known=' ${known.join(' ')} '
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$known" in *" \${path:+\${path// //}/}$word "*) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _firstack firstack
`;
}

const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\\\')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1');

/** The manual page, section 1, in the macros of man(7). */
export function manual(root: Command, version: string): string {
  const sections = commandsOf(root).map(({ path, command }) => {
    const args = command.registeredArguments.map((a) => (a.required ? `<${a.name()}>` : `[${a.name()}]`));
    const usage = ['firstack', path, ...args].join(' ');
    const options = command.options.flatMap((o) => [
      '.TP',
      `.B ${roff(o.flags)}`,
      roff(
        `${o.description}${o.defaultValue === undefined || o.defaultValue === false ? '' : ` (default: ${o.defaultValue})`}`,
      ),
    ]);
    return [`.SS ${roff(usage)}`, roff(command.description()), ...options].join('\n');
  });
  return [
    `.TH FIRSTACK 1 "" "firstack ${version}" "User Commands"`,
    '.SH NAME',
    `firstack \\- ${roff(root.description())}`,
    '.SH SYNOPSIS',
    '.B firstack',
    '.I command',
    '[options]',
    '.SH COMMANDS',
    ...sections,
    '.SH EXIT STATUS',
    roff(
      '0; 1: it ran, and an expectation failed; 2: usage; 69: something outside the role file is missing and may come; 77: permission; 78: the role file is wrong.',
    ),
    '',
  ].join('\n');
}

const load = (role: RoleName, file: string): Promise<unknown> =>
  import(new URL(`../../${role}/${file}.js`, import.meta.url).href);

/**
 * The JSON schema of a role's file for one program.
 * @throws FirstackError FSA_USAGE
 */
export async function schemaOf(role: string, name: string): Promise<Record<string, unknown>> {
  if (!(ROLES as readonly string[]).includes(role))
    throw new FirstackError('FSA_USAGE', `there is no role '${role}' (${ROLES.join(', ')})`);
  const { schema: own } = (await load(role as RoleName, 'config')) as { schema: RoleSchema };
  const { programs } = (await load(role as RoleName, 'programs')) as { programs: readonly ProgramEntry[] };
  const entry = programs.find((p) => p.name === name);
  if (entry === undefined) throw new FirstackError('FSA_USAGE', `the role ${role} has no program '${name}'`);
  const { program } = await entry.program();
  const part = program.schema(allocate(program.number, role as RoleName));
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: `firstack ${role}, program ${name}`,
    type: 'object',
    additionalProperties: false,
    properties: { ...own.properties, ...part.properties },
    required: [...own.required, ...part.required],
  };
}

export function addManual(root: Command, exit: (code: number) => void, version: string): void {
  const print = (text: string): void => {
    process.stdout.write(text);
    exit(0);
  };
  root
    .command('completion')
    .description('print a completion script for bash')
    .action(() => print(completion(root)));
  root
    .command('man')
    .description('print the manual page: firstack man | man -l -')
    .action(() => print(manual(root, version)));
  const config = root.command('config').description('role files');
  const ofRole = (name: string, description: string, text: (schema: Record<string, unknown>) => string) =>
    config
      .command(name)
      .description(description)
      .addArgument(new Argument('<role>').choices([...ROLES]))
      .option('--program <name>', 'the program', 'race')
      .action(async (role: string, { program }: { program: string }) => {
        print(text(await schemaOf(role, program)));
      });
  ofRole(
    'schema',
    "print the JSON schema of a role's file, with every key and its default",
    (schema) => `${JSON.stringify(schema, null, 2)}\n`,
  );
  ofRole('example', "print a role's file with every key, what it means, and its default", exampleOf);
}
