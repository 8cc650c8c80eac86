/**
 * Describes a race in words: each candidate, when it answered, why it lost or was left out, and the rule that
 * decided. Pure.
 */
import type { RaceCandidate, RaceRecord } from './record-read.js';

export interface Explanation {
  race: RaceRecord;
  /** The origin's record of the same race, when it was available: when each copy left. */
  origin: RaceRecord | undefined;
  /** Replicas that took no part, and the reason. */
  leftOut: { id: string; why: string }[];
  /** The path to the winner, as probes show it now; undefined where it is not probed. */
  path: PathNow | undefined;
  /** Where the gateway's record and the origin's record differ. */
  disagreements: string[];
}

export function join(
  race: RaceRecord,
  origin: RaceRecord | undefined,
  leftOut: Explanation['leftOut'],
  path?: PathNow,
): Explanation {
  const disagreements: string[] = [];
  if (origin !== undefined) {
    const sent = new Set(origin.candidates.map((c) => c.id));
    for (const c of race.candidates) {
      if (c.replyUs !== null && !sent.has(c.id))
        disagreements.push(`${c.id} answered, but the origin sent it no copy`);
      if (c.replyUs === null && !sent.has(c.id))
        disagreements.push(`the gateway expected ${c.id}, the origin left it out`);
    }
    for (const id of sent)
      if (!race.candidates.some((c) => c.id === id))
        disagreements.push(`the origin sent ${id} a copy, the gateway did not expect it`);
  }
  return { race, origin, leftOut, path, disagreements };
}

/** What a gateway's path probes tell (`gateway/race/paths.ts`). */
export interface PathNow {
  form: string;
  state: string;
  mtuOut: number | null;
  mtuIn: number | null;
}

function describePath(winner: string | null, { form, state, mtuOut, mtuIn }: PathNow): string {
  const sizes = mtuOut === null ? '' : `: packets of ${mtuOut} bytes arrive there, of ${mtuIn} here`;
  return `path to ${winner} now: ${form}, ${state}${sizes}`;
}

/** The most machines that took no part and are listed: the nearest come first. */
const SHOWN = 10;

const ms = (us: number): string => (us / 1000).toFixed(1);

export function describeRace({ race, origin, leftOut, path, disagreements }: Explanation): string[] {
  const release = race.race === 'origin' && race.release !== null ? `, ${race.release} release` : '';
  const lines = [
    `${race.client} → ${race.service}: configuration ${race.configuration}, race ${race.race}${release}`,
    `decided: ${race.winner === null ? 'no winner' : race.winner}: ${race.rule}`,
  ];
  if (race.marginUs !== null) {
    const jitter = race.jitterUs === null ? 'jitter not measured' : `measured jitter ${ms(race.jitterUs)} ms`;
    const close = race.jitterUs !== null && race.marginUs < race.jitterUs ? ': too close to call' : '';
    lines.push(`margin: ${ms(race.marginUs)} ms, ${jitter}${close}`);
  }
  lines.push('', 'candidate     sent ms   answered ms   verdict');
  for (const c of race.candidates) lines.push(row(c, origin));
  for (const { id, why } of leftOut.slice(0, SHOWN))
    lines.push(`${id.padEnd(12)}  ${'-'.padStart(7)}   ${'-'.padStart(11)}   left out: ${why}`);
  if (leftOut.length > SHOWN) lines.push(`… and ${leftOut.length - SHOWN} more (--json has all)`);
  for (const d of disagreements) lines.push(`DISAGREEMENT: ${d}`);
  if (path !== undefined) lines.push('', describePath(race.winner, path));
  lines.push('', `the registry's view was ${race.viewAgeMs} ms old`);
  return lines;
}

function row(c: RaceCandidate, origin: RaceRecord | undefined): string {
  const left = origin?.candidates.find((o) => o.id === c.id);
  const held = left === undefined ? '' : ` (held ${ms(left.sentUs)} ms at the origin)`;
  const answered = c.replyUs === null ? 'never' : ms(c.replyUs);
  return `${c.id.padEnd(12)}  ${ms(c.sentUs).padStart(7)}   ${answered.padStart(11)}   ${c.verdict}: ${c.reason}${held}`;
}

/** One line per race, for a log that scrolls. */
export function summarizeRace(race: RaceRecord): string {
  const answers = race.candidates
    .filter((c) => c.replyUs !== null)
    .map((c) => `${c.id} ${ms(c.replyUs!)}`)
    .join(', ');
  return `#${race.conn} ${race.client} → ${race.service}: ${race.winner ?? 'undecided'} (${answers || 'no answer'} ms)`;
}
