/**
 * An annotated role file, made from its schema: every key with what it means. A key that may be left out is commented
 * out: `#key: value`, with its default. What begins with `##` explains the next key.
 */
import { stringify } from 'yaml';
import type { Schema } from '../config.js';
import { USUAL } from '../explained.js';

const WIDTH = 110;

/** @param schema a role file's, with a title */
export function exampleOf(schema: Schema): string {
  const head = `${schema.title}: every key. Those that are commented out may be left out, and are shown with their defaults.`;
  return `${[...sentence(head, ''), '', ...keysOf(schema, '', false)].join('\n')}\n`;
}

/** @param isOptional whether the object itself may be left out */
function keysOf(schema: Schema, indent: string, isOptional: boolean): string[] {
  const required = new Set((schema.required as string[] | undefined) ?? []);
  const properties = Object.entries((schema.properties ?? {}) as Record<string, Schema>);
  // A key with an example beside its default is one that most files need.
  const isUsual = ({ default: fallback, examples, $comment }: Schema) =>
    $comment === USUAL || (fallback !== undefined && examples !== undefined);
  return properties.flatMap(([key, part]) =>
    keyOf(key, part, indent, isOptional || !(required.has(key) || isUsual(part))),
  );
}

function keyOf(key: string, schema: Schema, indent: string, isOptional: boolean): string[] {
  const said = sentence(String(schema.description ?? ''), indent);
  const name = `${isOptional ? '#' : ''}${indent}${key}:`;
  const items = schema.items as Schema | undefined;
  if (schema.type === 'object') return [...said, name, ...keysOf(schema, `${indent}  `, isOptional)];
  if (items?.type === 'object') return [...said, name, ...firstItem(items, `${indent}  `, isOptional)];
  const notes = [limitsOf(schema), isOptional && schema.default === undefined ? 'no default' : ''];
  const note = notes.filter((n) => n !== '').join('; ');
  return [...said, `${name} ${shownValue(schema)}${note === '' ? '' : `  # ${note}`}`];
}

/** The keys of a list's item; the list's sign stands before its first key. */
function firstItem(items: Schema, indent: string, isOptional: boolean): string[] {
  const lines = keysOf(items, `${indent}  `, isOptional);
  const first = lines.findIndex((line) => !line.startsWith('##'));
  lines[first] = lines[first].replace(`${indent}  `, `${indent}- `);
  return lines;
}

/** An example, or the default. */
function shownValue({ default: fallback, examples, enum: values }: Schema): string {
  const value =
    (examples as unknown[] | undefined)?.[0] ?? fallback ?? (values as unknown[] | undefined)?.[0];
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}

/** What values the key can have. */
function limitsOf({ enum: values, minimum, maximum }: Schema): string {
  if (Array.isArray(values)) return values.join(', ');
  if (minimum !== undefined && maximum !== undefined) return `${minimum} … ${maximum}`;
  return minimum === undefined ? '' : `${minimum} or more`;
}

/** A sentence as lines of comment. */
function sentence(text: string, indent: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || indent.length + last.length + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map((line) => `## ${indent}${line}`);
}
