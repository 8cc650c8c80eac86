/** `firstack events`: what changed, on every role that is asked, in the order of time. */
import { EXIT, FirstackError } from '../errors.js';
import type { Event } from '../events/events.js';
import { type AskedOptions, askAll } from './asked.js';

export interface EventsOptions extends AskedOptions {
  since: string;
  follow: boolean;
  json: boolean;
}

const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const FOLLOW_MS = 1000;

/** @param text `90s`, `15m`, `1h`, `2d` @throws FirstackError FSA_USAGE */
export function ageMs(text: string): number {
  const match = /^(\d+)([smhd])$/.exec(text);
  if (match === null) throw new FirstackError('FSA_USAGE', `--since ${text}: a number and s, m, h or d`);
  return Number(match[1]) * UNITS[match[2]];
}

type Told = Event & { role: string };

export async function events(o: EventsOptions): Promise<number> {
  let since = Date.now() - ageMs(o.since);
  const seen = new Set<string>();
  do {
    const latest = await read(o, since);
    for (const e of latest) {
      const line = JSON.stringify(e);
      if (seen.has(line)) continue;
      seen.add(line);
      process.stdout.write(`${o.json ? line : describe(e)}\n`);
      since = Math.max(since, e.at - FOLLOW_MS);
    }
    if (o.follow) await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
  } while (o.follow);
  if (seen.size === 0 && !o.json) process.stdout.write(`nothing happened in the last ${o.since}\n`);
  return EXIT.ok;
}

async function read(o: AskedOptions, since: number): Promise<Told[]> {
  const answers = await askAll<{ role: string; instance: string; events: Event[] }>(
    o,
    `/v1/events?since=${since}`,
  );
  return answers
    .flatMap(({ answer }) => (answer?.events ?? []).map((e) => ({ ...e, role: answer!.instance })))
    .sort((a, b) => a.at - b.at);
}

const describe = (e: Told): string =>
  `${new Date(e.at).toISOString()} ${e.level.padEnd(5)} ${e.role}: ${e.message}`;
