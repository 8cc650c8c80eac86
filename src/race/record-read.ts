/**
 * The race record: one type for log, API, CLI and page, read from the ring that the data plane writes. A record that is
 * overwritten while it is read is left out.
 */
import { MOST_RACED, ORIGIN } from '../proximity/candidates.js';
import { type Address, formatEndpoint } from '../wire/address.js';
import {
  ALONE,
  BEGUN,
  CLIENT,
  COMPARED,
  HEDGED,
  keptNumber,
  LIVE,
  MACHINE,
  MANNER,
  NUMBER,
  PORT,
  REFUSED,
  REPLIES,
  RING_HEADER,
  SENDS,
  SERVICE,
  STRIDE,
  TRIED,
  VERDICTS,
  WINNER,
} from './record-layout.js';
import type { Release } from './release.js';

export type CandidateVerdict = 'won' | 'reset' | 'refused' | 'silent';

export interface RaceCandidate {
  id: string;
  /** µs after the client's SYN. */
  sentUs: number;
  /** µs after the client's SYN; null when no acknowledgement came. */
  replyUs: number | null;
  verdict: CandidateVerdict;
  reason: string;
}

export interface RaceRecord {
  v: 1;
  /** Number of the race at this gateway, from 0. */
  conn: number;
  configuration: string;
  race: string;
  release: Release | null;
  client: string;
  service: string;
  candidates: RaceCandidate[];
  /** Null while undecided. */
  winner: string | null;
  rule: string;
  /** How much later than the first acknowledgement the second came, µs; null when there was no second. */
  marginUs: number | null;
  /** Measured jitter of the paths, µs; null while it is not measured. */
  jitterUs: number | null;
  viewAgeMs: number;
}

/** Names that the control plane knows and the ring does not contain. */
export interface RaceNames {
  /** The machine that had this candidate number of a service in race `conn`. */
  candidate(service: number, slot: number, conn: number): string;
  /** The machine that had this number in race `conn`. */
  machine(number: number, conn: number): string;
  /** The service that had this number in race `conn`, if it is known. */
  service(
    slot: number,
    conn: number,
  ): { name: string; configuration: string; release: Release | null } | undefined;
  race: string;
  viewAgeMs: number;
  /** Measured jitter between two candidates for a client, µs; null while it is not measured. */
  jitterUs?(service: number, client: Address, a: number, b: number): number | null;
}

/** The latest `count` races, oldest first. */
export function readRaces(ring: Float64Array, count: number, names: RaceNames): RaceRecord[] {
  const places = Math.floor((ring.length - RING_HEADER) / STRIDE);
  const begun = ring[BEGUN];
  const out: RaceRecord[] = [];
  for (let n = Math.max(0, begun - Math.min(count, places)); n < begun; n++) {
    const base = RING_HEADER + (n % places) * STRIDE;
    const words = ring.slice(base, base + STRIDE);
    const kept = keptNumber(n);
    if (words[NUMBER] === kept && ring[base + NUMBER] === kept) out.push(decode(words, n, names));
  }
  return out;
}

function decode(words: Float64Array, conn: number, names: RaceNames): RaceRecord {
  const service = names.service(words[SERVICE], conn);
  const winner = words[WINNER];
  const candidates: (RaceCandidate & { slot: number })[] = [];
  for (let c = 0; c < MOST_RACED; c++) {
    const reply = words[REPLIES + c];
    const expected = ((words[LIVE] >>> c) & 1) !== 0;
    if (reply === 0 && !expected) continue;
    candidates.push({
      slot: c,
      id: names.candidate(words[SERVICE], c, conn),
      sentUs: words[SENDS + c],
      replyUs: reply === 0 ? null : reply,
      ...judge(words, c),
    });
  }
  candidates.sort(
    (a, b) => (a.replyUs ?? Number.POSITIVE_INFINITY) - (b.replyUs ?? Number.POSITIVE_INFINITY),
  );
  const address = [...words.slice(CLIENT, CLIENT + 4)] as unknown as Address;
  const acknowledged = candidates.filter((c) => c.verdict === 'won' || c.verdict === 'reset');
  const margin = acknowledged.length > 1 ? acknowledged[1].replyUs! - acknowledged[0].replyUs! : null;
  const jitter =
    margin === null || names.jitterUs === undefined
      ? null
      : names.jitterUs(words[SERVICE], address, acknowledged[0].slot, acknowledged[1].slot);
  return {
    v: 1,
    conn,
    configuration: service?.configuration ?? '',
    race: names.race,
    release: service?.release ?? null,
    client: formatEndpoint(address, words[PORT]),
    service: service?.name ?? '',
    candidates: candidates.map(({ slot: _slot, ...c }) => c),
    winner: winner < 0 ? null : names.machine(words[MACHINE], conn),
    rule: ruleOf(words, margin, jitter),
    marginUs: margin,
    jitterUs: jitter,
    viewAgeMs: names.viewAgeMs,
  };
}

const PREFACES: Record<number, string> = {
  [HEDGED]: 'hedged: the learned winner was late; ',
  [COMPARED]: 'asked the nearest candidates, to tell them apart; ',
};

function ruleOf(words: Float64Array, margin: number | null, jitter: number | null): string {
  if (words[WINNER] < 0) return 'undecided: no acknowledgement yet';
  if (words[MANNER] === ALONE) return 'asked alone, as the learned winner';
  if (words[MANNER] === TRIED) return 'asked alone, as a trial: it is ejected';
  const first = PREFACES[words[MANNER]] ?? '';
  const close = margin !== null && jitter !== null && margin < jitter ? '; too close to call' : '';
  return `${first}the first acknowledgement wins${close}`;
}

function judge(words: Float64Array, c: number): { verdict: CandidateVerdict; reason: string } {
  if (words[WINNER] === c) return { verdict: 'won', reason: 'its acknowledgement came first' };
  if (words[REPLIES + c] === 0) return { verdict: 'silent', reason: 'no acknowledgement so far' };
  if (words[VERDICTS + c] === REFUSED)
    return {
      verdict: 'refused',
      reason: c === ORIGIN ? 'the origin refused the SYN' : 'the replica refused the SYN',
    };
  return { verdict: 'reset', reason: 'another acknowledgement came first: reset at once' };
}
