import { execFileSync } from 'node:child_process';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { commandsOf, completion, manual, schemaOf } from '../../../src/cli/manual.js';

function tree(): Command {
  const root = new Command('firstack').description('a platform');
  const lab = root.command('lab').description('a laboratory');
  lab.command('up').description('start one').option('--name <name>', 'its name', 'default');
  root.command('events').description('what changed').argument('[kind]').option('--json', 'print JSON', false);
  return root;
}

/** What bash would offer after these words. */
function offered(...words: string[]): string[] {
  const script = `${completion(tree())}
COMP_WORDS=(firstack ${words.map((w) => `'${w}'`).join(' ')}); COMP_CWORD=${words.length}
_firstack; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim().split('\n');
}

describe('what is made from the commands', () => {
  it('lists commands below commands', () => {
    expect(commandsOf(tree()).map((c) => c.path)).toEqual(['lab', 'lab up', 'events']);
  });

  it('completes commands, and options of the command that was typed', () => {
    expect(offered('')).toEqual(['lab', 'events', '--help']);
    expect(offered('ev')).toEqual(['events']);
    expect(offered('lab', '')).toEqual(['up', '--help']);
    expect(offered('lab', 'up', '--n')).toEqual(['--name']);
  });

  it('is a manual page with every command, option and default', () => {
    const page = manual(tree(), '1.2.3');
    expect(page).toMatch(/^\.TH FIRSTACK 1 "" "firstack 1\.2\.3"/);
    expect(page).toContain('.SS firstack events [kind]');
    expect(page).toContain('its name (default: default)');
    expect(page).toContain('\\-\\-json');
  });

  it('is the schema of a role file, with defaults', async () => {
    const schema = (await schemaOf('replica', 'race')) as {
      properties: Record<string, { default?: unknown; properties?: Record<string, { default?: unknown }> }>;
      required: string[];
    };
    expect(schema.properties.log.default).toBe('info');
    expect(schema.properties.flows.properties?.max.default).toBe(262_144);
    expect(schema.required).toContain('registry');
    await expect(schemaOf('router', 'race')).rejects.toThrow(/no role 'router'/);
    await expect(schemaOf('replica', 'chess')).rejects.toThrow(/no program 'chess'/);
  });
});
