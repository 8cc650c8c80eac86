// The offsets of fields in TypeScript are those that clang chose: read from the compiled objects' BTF.
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import {
  clientKey,
  endpointKey,
  endpointValue,
  flowKey,
  flowValue,
  settings,
  TOTALS,
} from '../../../src/fastpath/layout.js';
import { hookObject } from '../../../src/fastpath/native.js';
import type { Layout } from '../../../src/layout.js';
import { opening, tickets, winner } from '../../../src/race/kernel-layout.js';
import { source, source6 } from '../../../src/routing/kernel-layout.js';

interface Member {
  name: string;
  type_id: number;
  bits_offset: number;
}
interface BtfType {
  id: number;
  kind: string;
  name: string;
  size: number;
  members?: Member[];
}

const typesOf = (program: string): BtfType[] =>
  JSON.parse(
    execFileSync('bpftool', ['-j', 'btf', 'dump', 'file', hookObject(program)], { encoding: 'utf8' }),
  ).types;
const programs = { race: typesOf('race'), routing: typesOf('routing') };
type Program = keyof typeof programs;

/** Offsets in bytes by name; the fields of an unnamed inner struct or union count as the outer struct's. */
function places(types: readonly BtfType[], type: BtfType, base = 0): Record<string, number> {
  const out: Record<string, number> = {};
  for (const m of type.members ?? []) {
    const at = base + m.bits_offset / 8;
    const inner = types.find((t) => t.id === m.type_id);
    if (m.name === '(anon)' && inner !== undefined) Object.assign(out, places(types, inner, at));
    else out[m.name] = at;
  }
  return out;
}
const struct = (name: string, of: Program = 'race'): BtfType =>
  programs[of].find((t) => t.kind === 'STRUCT' && t.name === name)!;
const inC = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

const TABLE: [name: string, layout: Layout<Record<string, number>>, more?: string[]][] = [
  ['flow_key', flowKey],
  ['flow', flowValue, ['word']],
  ['endpoint_key', endpointKey],
  ['endpoint', endpointValue],
  ['client_key', clientKey],
  ['settings', settings],
  ['winner', winner],
  ['opening', opening],
  ['tickets', tickets],
];

describe("the kernel's layout", () => {
  it.each(TABLE)('of struct %s is the same in TypeScript', (name, layout, more = []) => {
    const { stride, ...fields } = layout;
    const found = places(programs.race, struct(name));
    const expected = Object.fromEntries(Object.entries(fields).map(([field, at]) => [inC(field), at]));
    for (const extra of more) delete found[extra];
    expect(found).toEqual(expected);
    expect(struct(name).size).toBe(stride);
  });

  it.each([
    ['source', source],
    ['source6', source6],
  ] as const)('of struct %s of service-level routing is the same in TypeScript', (name, layout) => {
    const { stride, ...fields } = layout;
    const expected = Object.fromEntries(Object.entries(fields).map(([field, at]) => [inC(field), at]));
    expect(places(programs.routing, struct(name, 'routing'))).toEqual(expected);
    expect(struct(name, 'routing').size).toBe(stride);
  });

  it('has a place for each total', () => {
    expect(struct('totals').size).toBe(8 * TOTALS.length);
  });
});
