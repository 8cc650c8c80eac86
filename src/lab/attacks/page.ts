/**
 * The page of `firstack bench attacks`. What was not measured this time keeps its rows, and the words around the table stay: an
 * attack is measured again by itself.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { Figure } from '../figure.js';

const HEAD = '| attack | figure | target | met | what |\n| --- | ---: | --- | --- | --- |\n';

/** The order of the rows. */
const ORDER = ['flood', 'thief', 'rotation', 'upgrade', 'amplification', 'forged'];
const placeOf = (id: string): number => ORDER.findIndex((kind) => id.startsWith(kind));

const rowOf = (f: Figure): string =>
  `| \`${f.id}\` | ${f.value} | ${f.target.replace('>=', '≥').replace('<=', '≤')} | ${f.met} | ${f.what.replaceAll('|', '/')} |`;

/** The rows of a page by id; an id may have several. */
function rowsIn(table: string): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  for (const row of table.split('\n')) {
    const id = /^\| `([^`]+)` \|/.exec(row)?.[1];
    if (id !== undefined) rows.set(id, [...(rows.get(id) ?? []), row]);
  }
  return rows;
}

/** @param page the present page @returns the page with these figures in it */
export function pageWith(page: string, figures: readonly Figure[]): string {
  const at = page.indexOf(HEAD) + HEAD.length;
  const end = page.indexOf('\n\n', at);
  const rows = rowsIn(page.slice(at, end));
  for (const { id } of figures) rows.set(id, []);
  for (const f of figures) rows.get(f.id)!.push(rowOf(f));
  const ids = [...rows.keys()].sort((a, b) => placeOf(a) - placeOf(b));
  return `${page.slice(0, at)}${ids.flatMap((id) => rows.get(id)!).join('\n')}${page.slice(end)}`;
}

export const pageAt = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : EMPTY);

const EMPTY = `# Attacks

\`\`\`sh
npm run -s firstack -- bench attacks --markdown deploy/measured/attacks.md
\`\`\`

${HEAD}

`;
