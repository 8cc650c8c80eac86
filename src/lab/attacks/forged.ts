/**
 * A million forged packets and records of each kind: the fuzz tests of a checkout (`test/fuzz`), for as many rounds as that
 * takes.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { FirstackError } from '../../errors.js';
import { type Figure, figure } from '../figure.js';
import { packageRoot } from '../paths.js';

/** Each file of tests, and as many times its usual rounds as make a million. */
const SUITES = [
  { id: 'forged.packets', file: 'test/fuzz/forgery.test.ts', times: 10 },
  { id: 'forged.records', file: 'test/fuzz/records.test.ts', times: 250 },
] as const;

interface Report {
  testResults: { assertionResults: { fullName: string; status: string; failureMessages: string[] }[] }[];
}

/** @throws FirstackError FSA_USAGE where the tests are not there */
export async function playForged(only: string, seed: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const suite of SUITES.filter(({ id }) => id.startsWith(only) || only === '')) {
    const results = (await runTests(suite.file, suite.times, seed)).testResults;
    for (const t of results.flatMap((r) => r.assertionResults)) {
      const failed = t.status === 'passed' ? 0 : 1;
      const what = `${t.fullName} ${t.failureMessages.join(' ').split('\n')[0]}`;
      figures.push(figure({ bench: 'attacks', seed }, suite.id, failed, { most: 0 }, what));
    }
  }
  return figures;
}

function runTests(file: string, times: number, seed: number): Promise<Report> {
  const vitest = `${packageRoot}/node_modules/vitest/vitest.mjs`;
  if (!existsSync(`${packageRoot}/${file}`) || !existsSync(vitest))
    throw new FirstackError('FSA_USAGE', `forged packets are tried in a checkout: ${file} is not here`);
  const argv = [vitest, 'run', '--project', 'unit', '--testTimeout', '86400000', '--reporter', 'json', file];
  const env = { ...process.env, FIRSTACK_FUZZ: String(times), FIRSTACK_FUZZ_SEED: String(seed) };
  const child = spawn(process.execPath, argv, { cwd: packageRoot, env, stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', () => {
      try {
        resolve(JSON.parse(text.slice(text.indexOf('{'))) as Report);
      } catch {
        reject(new FirstackError('FSA_INTERNAL', `${file} ended without a report`));
      }
    });
  });
}
