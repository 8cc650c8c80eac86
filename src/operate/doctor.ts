/**
 * `firstack doctor`: what is wrong with the roles that are asked, one finding per cause, each with the line to run
 * (`examine.ts`). It changes nothing. A fleet that is whole has no findings.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { EXIT } from '../errors.js';
import { type Answered, type AskedOptions, askAll } from './asked.js';
import { type Examined, examine, type Finding, type Told } from './examine.js';
import { differencesOf } from './status.js';

export interface DoctorOptions extends AskedOptions {
  json: boolean;
}

/** How far back the figures of an ejection are looked for. */
const EVENTS_MS = 3_600_000;
/** A change reaches every role within two heartbeats; views that differ for longer differ. */
const SETTLES_MS = 2500;

/** @returns 1 when there are findings; a note is none */
export async function doctor(o: DoctorOptions): Promise<number> {
  let answers = await askAll<Examined>(o, '/v1/status');
  if (differ(answers)) {
    await pause(SETTLES_MS);
    answers = await askAll<Examined>(o, '/v1/status');
  }
  const told = await askAll<Told>(o, `/v1/events?since=${Date.now() - EVENTS_MS}`);
  const all = examine(
    answers,
    told.flatMap((t) => t.answer ?? []),
  );
  const faults = all.filter((f) => f.isNote !== true);
  if (o.json) process.stdout.write(`${JSON.stringify(all, null, 2)}\n`);
  else {
    process.stdout.write(all.map(lineOf).join(''));
    if (faults.length === 0) process.stdout.write(`${answers.length} roles asked: nothing is wrong\n`);
  }
  return faults.length === 0 ? EXIT.ok : EXIT.expectation;
}

const differ = (answers: readonly Answered<Examined>[]): boolean =>
  differencesOf(answers.flatMap((a) => a.answer ?? [])).length > 0;

const lineOf = ({ where, what, run, isNote }: Finding): string =>
  `${isNote === true ? 'note: ' : ''}${where}: ${what}\n${run === '' ? '' : `    ${run}\n`}`;
