/** The commands that query running roles: `firstack explain`, `races`, `proximity`. */

import { askAdmin } from '../../src/admin/client.js';
import { EXIT, FirstackError } from '../../src/errors.js';
import { addressOf } from '../../src/operate/asked.js';
import { columns } from '../../src/operate/columns.js';
import { describeRace, join, summarizeRace } from '../../src/race/explain.js';
import type { RaceRecord } from '../../src/race/record-read.js';
import type { PathReport } from './paths.js';

const KEPT = 4096;
const FOLLOW_MS = 250;

export interface AskOptions {
  admin?: string;
  /** The name of a laboratory, whose gateway is asked. */
  lab?: string;
  origin?: string;
  json: boolean;
}

const gatewayOf = (o: AskOptions): string => addressOf(o, 'gateway');

/** @param which CLIENT:PORT or `last` */
export async function explain(which: string, o: AskOptions): Promise<number> {
  const { races } = await askAdmin<{ races: RaceRecord[] }>(
    gatewayOf(o),
    `/v1/races?last=${which === 'last' ? 1 : KEPT}`,
  );
  const race = which === 'last' ? races.at(-1) : races.findLast((r) => r.client === which);
  if (race === undefined)
    throw new FirstackError('FSA_RACE_UNKNOWN', `${which}: no such race among the latest ${KEPT}`);
  const raced = new Set(race.candidates.map((c) => c.id));
  const status = await askAdmin<{
    replicas: Replica[];
    paths?: PathReport[];
  }>(gatewayOf(o), '/v1/status');
  const leftOut = status.replicas
    .filter((r) => !raced.has(r.id))
    .sort((a, b) => (a.rttMs ?? Number.POSITIVE_INFINITY) - (b.rttMs ?? Number.POSITIVE_INFINITY))
    .map((r) => ({ id: r.id, why: whyLeftOut(race, r) }));
  let origin: RaceRecord | undefined;
  const asked = o.origin ?? (o.lab === undefined ? undefined : addressOf(o, 'origin'));
  if (asked !== undefined && race.race === 'origin') {
    const there = await askAdmin<{ races: RaceRecord[] }>(asked, `/v1/races?last=${KEPT}`);
    origin = there.races.findLast((r) => r.client === race.client && r.service === race.service);
  }
  const form = race.configuration === 'C' ? 'tunnel' : 'plain';
  const path = status.paths?.find((p) => p.form === form && p.machines.includes(race.winner ?? ''));
  const explanation = join(race, origin, leftOut, path);
  print(o.json ? JSON.stringify(explanation, null, 2) : describeRace(explanation).join('\n'));
  return EXIT.ok;
}

interface Replica {
  id: string;
  state: string;
  reason: string;
  /** Absent in an older version, as the next one. */
  rttMs?: number | null;
  leftOut?: string;
  /** Whether it is no candidate, because others are nearer. */
  isFarther?: boolean;
}

function whyLeftOut(race: RaceRecord, r: Replica): string {
  if (r.state !== 'up') return r.reason === '' ? r.state : `${r.state}: ${r.reason}`;
  const measured = r.rttMs == null ? '' : ` (measured: ${r.rttMs.toFixed(1)} ms)`;
  if (r.leftOut !== undefined) return `${r.leftOut}${measured}`;
  if (r.isFarther === true) return `31 others of its service are nearer${measured}`;
  if (race.race === 'origin') return 'was not up then';
  if (race.candidates.length === 1)
    return `not asked: another candidate was learned to be nearest${measured}`;
  return `not asked: a race asks a few, the nearest first${measured}`;
}

/** Prints races as they are decided, until interrupted; without `follow` the latest ones. */
export async function races(o: AskOptions & { follow: boolean; last: number }): Promise<number> {
  const show = (r: RaceRecord): void => print(o.json ? JSON.stringify(r) : summarizeRace(r));
  const latest = async (n: number): Promise<RaceRecord[]> =>
    (await askAdmin<{ races: RaceRecord[] }>(gatewayOf(o), `/v1/races?last=${n}`)).races;
  let next = 0;
  for (const r of await latest(o.last)) {
    show(r);
    next = r.conn + 1;
  }
  while (o.follow) {
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
    // Races that are not decided yet are printed by a later query.
    for (const r of (await latest(KEPT)).filter((x) => x.conn >= next)) {
      if (r.winner === null) break;
      show(r);
      next = r.conn + 1;
    }
  }
  return EXIT.ok;
}

/** Prints what probes tell of the paths to replicas. */
export async function paths(o: AskOptions): Promise<number> {
  const answer = await askAdmin<{ paths: PathReport[] }>(gatewayOf(o), '/v1/paths');
  const size = (bytes: number | null): string => (bytes === null ? '-' : String(bytes));
  if (o.json) print(JSON.stringify(answer.paths, null, 2));
  else
    print(
      columns(
        ['machine', 'address', 'form', 'path', 'bytes out', 'bytes in', 'rtt ms'],
        answer.paths.map((p) => [
          ...[p.machines.join(','), p.address, p.form, p.state, size(p.mtuOut), size(p.mtuIn)],
          p.rttMs === null ? '-' : p.rttMs.toFixed(1),
        ]),
      ),
    );
  return EXIT.ok;
}

interface Flow {
  client: string;
  service: string | null;
  machine: string | null;
  state: string;
  idleMs: number;
  /** Absent in an older version. */
  ageMs?: number | null;
  bytes?: number;
  pinned: boolean;
}

/** Prints the flows of a gateway: who is on which machine. */
export async function flows(
  o: AskOptions & { client?: string; machine?: string; limit: number },
): Promise<number> {
  const query = new URLSearchParams({ limit: String(o.limit) });
  if (o.client !== undefined) query.set('client', o.client);
  if (o.machine !== undefined) query.set('machine', o.machine);
  const answer = await askAdmin<{ flows: Flow[] }>(gatewayOf(o), `/v1/flows?${query}`);
  if (o.json) print(JSON.stringify(answer.flows, null, 2));
  else
    print(
      columns(
        ['client', 'service', 'machine', 'state', 'age s', 'idle s', 'bytes', 'carried by'],
        answer.flows.map((f) => [
          ...[f.client, f.service ?? '?', f.machine ?? '-', f.state],
          ...[
            seconds(f.ageMs ?? null),
            seconds(f.idleMs),
            String(f.bytes ?? '-'),
            f.pinned ? 'kernel' : 'process',
          ],
        ]),
      ),
    );
  return EXIT.ok;
}

const seconds = (ms: number | null): string => (ms === null ? '-' : (ms / 1000).toFixed(1));

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
