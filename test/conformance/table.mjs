/**
 * Makes `test/conformance/README.md` from the results of a test run:
 *
 *     FIRSTACK_REPORTS=DIR npm test; node test/conformance/table.mjs DIR
 *
 * DIR has vitest's JSON reports, one per part. A cell counts the passed tests of a rule in a configuration, on the TUN
 * or with the hooks in the kernel.
 *
 * @typedef {{file: string, title: string, passed: boolean}} Result
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { RULES } from './rules.mjs';

const CONFIGURATIONS = ['A', 'B', 'C'];
const PLANES = ['TUN', 'pinned'];

/** @param {string} directory @returns {Result[]} */
export function resultsOf(directory) {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) => JSON.parse(readFileSync(`${directory}/${name}`, 'utf8')).testResults)
    .flatMap((f) =>
      f.assertionResults.map((/** @type {{fullName: string, status: string}} */ t) => ({
        file: f.name.replace(/^.*\/test\//, ''),
        title: t.fullName,
        passed: t.status === 'passed',
      })),
    );
}

/** @param {import('./rules.mjs').Rule} rule @param {Result} t */
function shows(rule, t) {
  const named = /\[(?:rules?|MIDDLEBOX) ([\d, ]+)\]/.exec(t.title)?.[1].split(/, ?/) ?? [];
  if (named.includes(String(rule.n))) return true;
  return (rule.tests ?? []).some(([file, title]) => t.file.includes(file) && title.test(t.title));
}

/** Whether a test tries real stages, hooks or roles: only those fill cells. @param {Result} t */
const isWhole = (t) => t.file.startsWith('contract/') || t.file.startsWith('integration/');

/** The configurations that a test names. @param {Result} t @returns {string[]} */
function configurationsOf(t) {
  const named = [...t.title.matchAll(/configuration ([ABC])\b|under ([ABC])\b|[: ]([ABC]), fast path/g)];
  return named.map((m) => m[1] ?? m[2] ?? m[3]);
}

/** @param {Result} t */
const isV6 = (t) => t.file.includes('ipv6');

/** Laboratories use the fast path unless a test says otherwise. @param {Result} t */
function planeOf(t) {
  return t.file.startsWith('contract/') || t.title.includes('fast path off') ? 'TUN' : 'pinned';
}

/**
 * @param {import('./rules.mjs').Rule} rule @param {Result[]} tests @param {string} c @param {string} plane
 * @param {boolean} v6
 */
function cell(rule, tests, c, plane, v6) {
  const names = [c, `${c}${v6 ? 6 : 4}`];
  if (rule.exceptions?.some((e) => e.in.split(' ').some((n) => names.includes(n))) === true)
    return `[${rule.n}](#exceptions)`;
  const fits = (/** @type {Result} */ t) => configurationsOf(t).includes(c) && planeOf(t) === plane;
  const own = tests.filter((t) => isWhole(t) && isV6(t) === v6 && fits(t));
  const failed = own.filter((t) => !t.passed).length;
  if (failed > 0) return `**no** (${failed})`;
  if (own.length > 0) return String(own.length);
  return rule.shared === true && tests.some((t) => t.passed && !isWhole(t)) ? 'unit' : '**not tried**';
}

/** @param {Result[]} results */
export function page(results) {
  const rows = RULES.map((rule) => {
    const tests = results.filter((t) => shows(rule, t));
    const cells = CONFIGURATIONS.flatMap((c) => PLANES.map((p) => cell(rule, tests, c, p, false)));
    // Over IPv6 there are the gateway's own races in configurations A and C (ADR 21, 22, 23).
    cells.push(...PLANES.map((p) => cell(rule, tests, 'A', p, true)), cell(rule, tests, 'C', 'TUN', true));
    const files = [...new Set(tests.map((t) => t.file.replace(/\.test\.ts$/, '')))].sort();
    return `| ${[rule.n, rule.rule, rule.rfc ?? '', ...cells, files.map((f) => `\`${f}\``).join(' ')].join(' | ')} |`;
  });
  const exceptions = RULES.flatMap((r) => (r.exceptions ?? []).map((e) => `- ${r.n}, in ${e.in}: ${e.why}`));
  return `# Conformance: forty rules of a correct middlebox

Made by \`table.mjs\` from the results of a test run; [\`rules.mjs\`](rules.mjs) has the rules, the tests that show each
beside those that name it in their title, and the exceptions. A cell is the number of tests that passed, in configuration A,
B, C, of the TUN's stages or with the hooks in front of them (pinned: what the hooks leave goes to the TUN there too). *unit*: only
unit tests show it, of code that all cells share. Tests that name no configuration fill no cell. IPv6 is carried in
configurations A and C, under C through the TUN only (ADR 21 to 23): three columns; all others are IPv4.

| # | rule | RFC | A TUN | A pinned | B TUN | B pinned | C TUN | C pinned | A TUN, IPv6 | A pinned, IPv6 | C TUN, IPv6 | shown by |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

## Exceptions

${exceptions.join('\n')}
`;
}

if (process.argv[1]?.endsWith('table.mjs')) {
  const [directory] = process.argv.slice(2);
  if (directory === undefined) {
    process.stderr.write('table: name the directory of the reports\n');
    process.exit(2);
  }
  writeFileSync(new URL('README.md', import.meta.url), page(resultsOf(directory)));
}
