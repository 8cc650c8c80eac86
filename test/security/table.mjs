/**
 * Makes the table of `deploy/security.md` from the results of a test run:
 *
 *     FIRSTACK_REPORTS=DIR npm test; node test/security/table.mjs DIR
 *
 * DIR has vitest's JSON reports, one per part. `threats.mjs` has the threats and their tests. A test whose title has places for
 * values (`it.each`) held when all of its cases did. `test/unit/security.test.ts` compares the page with the threats and with the
 * tests that there are now.
 *
 * @typedef {{file: string, title: string}} Test a test as it stands in its file, `title` with its places for values
 * @typedef {{tests: number, cases: number, failed: number, untried: number}} Held
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { resultsOf } from '../conformance/table.mjs';
import { THREATS } from './threats.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = `${ROOT}deploy/security.md`;
const BEGIN = '<!-- made by test/security/table.mjs -->';
const END = '<!-- until here -->';

/** The tests that there are, read from the files without running them. @returns {Test[]} */
export function testsNow() {
  const files = [...new Set(THREATS.flatMap((t) => t.tests.map(([file]) => `test/${file}.test.ts`)))];
  // The files first: an option would take the next word as its value.
  const argv = ['node_modules/vitest/vitest.mjs', 'list', ...files, '--static-parse', '--json'];
  // A test that asks for this is a part of another run of vitest, whose settings are not this one's.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_ENV$|TEST$)/.test(name)),
  );
  const text = execFileSync(process.execPath, argv, {
    cwd: ROOT,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return JSON.parse(text.slice(text.indexOf('['))).map((/** @type {{file: string, name: string}} */ t) => ({
    file: t.file.replace(/^.*\/test\//, ''),
    title: t.name.replaceAll(' > ', ' '),
  }));
}

/** @param {import('./threats.mjs').Threat} threat @param {Test[]} tests */
export const testsOf = (threat, tests) =>
  tests.filter((t) =>
    threat.tests.some(([file, title]) => t.file === `${file}.test.ts` && (title?.test(t.title) ?? true)),
  );

/** A pattern of the titles that a test's cases have. @param {string} title */
function patternOf(title) {
  const parts = title.split(/%[sdifjoOc#]|\$\{[^}]*\}|\$[a-zA-Z_][\w.]*/);
  const escaped = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('[\\s\\S]*')}$`);
}

/**
 * @param {import('./threats.mjs').Threat} threat @param {Test[]} tests @param {import('../conformance/table.mjs').Result[]} results
 * @returns {Held}
 */
export function heldOf(threat, tests, results) {
  const held = { tests: 0, cases: 0, failed: 0, untried: 0 };
  for (const { file, title } of testsOf(threat, tests)) {
    const pattern = patternOf(title);
    const cases = results.filter((r) => r.file === file && pattern.test(r.title));
    held.tests++;
    held.cases += cases.length;
    if (cases.length === 0) held.untried++;
    else if (cases.some((c) => !c.passed)) held.failed++;
  }
  return held;
}

/** @param {Held} h */
function saying({ tests, cases, failed, untried }) {
  const all = `${tests} ${tests === 1 ? 'test' : 'tests'}, ${cases} ${cases === 1 ? 'case' : 'cases'}`;
  if (failed + untried === 0) return `held: ${all}`;
  const not = [failed > 0 ? `${failed} failed` : '', untried > 0 ? `${untried} not tried` : ''];
  return `**${not.filter((n) => n !== '').join(', ')}** of ${all}`;
}

/** What the cells of a page say. @param {string} text @returns {Held[]} */
export function heldIn(text) {
  const rows = tableIn(text).split('\n').slice(2);
  return rows.map((row) => {
    const number = (/** @type {RegExp} */ pattern) => Number(pattern.exec(row)?.[1] ?? 0);
    return {
      ...{ tests: number(/(\d+) tests?, \d+ cases? \|/), cases: number(/(\d+) cases? \|/) },
      ...{ failed: number(/\*\*(\d+) failed/), untried: number(/(\d+) not tried\*\*/) },
    };
  });
}

/** @param {string} text */
const tableIn = (text) => text.slice(text.indexOf(BEGIN) + BEGIN.length, text.indexOf(END)).trim();

/** The page with this table. @param {string} text @param {Held[]} held by threat */
export function pageWith(text, held) {
  const rows = THREATS.map((t, n) => {
    const files = t.tests.map(([file]) => `\`${file}\``);
    return `| ${[t.who, t.does, t.defence, [...new Set(files)].join(' '), saying(held[n])].join(' | ')} |`;
  });
  const table = [
    '| who | does what | defence | tests | what held |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ];
  return `${text.slice(0, text.indexOf(BEGIN) + BEGIN.length)}\n\n${table.join('\n')}\n\n${text.slice(text.indexOf(END))}`;
}

export const pageNow = () => readFileSync(PAGE, 'utf8');

if (process.argv[1]?.endsWith('security/table.mjs')) {
  const [directory] = process.argv.slice(2);
  if (directory === undefined) {
    process.stderr.write('table: name the directory of the reports\n');
    process.exit(2);
  }
  const tests = testsNow();
  const results = resultsOf(directory);
  writeFileSync(
    PAGE,
    pageWith(
      pageNow(),
      THREATS.map((t) => heldOf(t, tests, results)),
    ),
  );
}
