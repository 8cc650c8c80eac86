/** `firstack proximity`: which machines are near which clients, as a gateway has learned it, and a picture of it. */
import { writeFileSync } from 'node:fs';
import { askAdmin } from '../../src/admin/client.js';
import { EXIT } from '../../src/errors.js';
import { addressOf } from '../../src/operate/asked.js';
import { columns } from '../../src/operate/columns.js';
import type { AskOptions } from './ask.js';
import { drawing, type Placed } from './proximity-drawing.js';

export interface Proximity {
  service: string;
  prefix: string;
  /** Absent in an older version, as the next two. */
  usedMs?: number;
  racedMs?: number | null;
  known?: number;
  candidates: { id: string; rttMs: number; variationMs: number; samples: number; wins: number }[];
}

interface Answer {
  proximity: Proximity[];
  prefixes?: number;
  room?: number;
  bytes?: number;
}

export interface ProximityOptions extends AskOptions {
  service?: string;
  client?: string;
  top: number;
  limit: number;
  /** File name for the picture. */
  svg?: string;
}

/** Prints which machines are near which clients, and how often each has won. */
export async function proximity(o: ProximityOptions): Promise<number> {
  const admin = addressOf(o, 'gateway');
  const query = new URLSearchParams({ top: String(o.top), limit: String(o.limit) });
  if (o.service !== undefined) query.set('service', o.service);
  if (o.client !== undefined) query.set('client', o.client);
  const answer = await askAdmin<Answer>(admin, `/v1/proximity?${query}`);
  if (o.svg !== undefined) {
    const { replicas } = await askAdmin<{ replicas: { id: string; rttMs?: number | null }[] }>(
      admin,
      '/v1/status',
    );
    const title = o.service === undefined ? 'all services' : o.service;
    writeFileSync(o.svg, drawing(title, placed(replicas, answer.proximity)));
  }
  const lines = o.json ? [JSON.stringify(answer.proximity, null, 2)] : describe(answer, o.top);
  process.stdout.write(`${lines.join('\n')}\n`);
  return EXIT.ok;
}

/** Every machine that was measured, with its wins of all prefixes. */
function placed(
  replicas: readonly { id: string; rttMs?: number | null }[],
  all: readonly Proximity[],
): Placed[] {
  const times = new Map<string, Placed>();
  for (const { id, rttMs } of replicas) if (rttMs != null) times.set(id, { id, rttMs, wins: 0 });
  for (const { candidates } of all)
    for (const { id, rttMs, wins } of candidates) {
      const known = times.get(id) ?? { id, rttMs, wins: 0 };
      // What SYNs have told is more exact than a probe.
      times.set(id, { ...known, rttMs, wins: known.wins + wins });
    }
  return [...times.values()];
}

function describe({ proximity: all, prefixes, room, bytes }: Answer, top: number): string[] {
  const rows = all.flatMap((p) =>
    p.candidates
      .slice(0, top)
      .map((c, n) => [
        ...(n === 0 ? [p.service, p.prefix, ago(p.usedMs), ago(p.racedMs)] : ['', '', '', '']),
        ...[c.id, c.rttMs.toFixed(1), c.variationMs.toFixed(1), String(c.samples), String(c.wins)],
      ]),
  );
  const titles = ['service', 'clients', 'used', 'raced', 'machine', 'rtt ms', '± ms', 'samples', 'wins'];
  const table = columns(titles, rows);
  if (prefixes === undefined) return [table];
  const size = `${prefixes} of ${room} pairs of service and client prefix, at most ${Math.round((bytes ?? 0) / 1e6)} MB`;
  return [table, '', all.length < prefixes ? `${all.length} shown; ${size}` : size];
}

/** @returns `3 s ago`; `-` where it is not known */
function ago(ms: number | null | undefined): string {
  if (ms == null) return '-';
  const seconds = ms / 1000;
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}
