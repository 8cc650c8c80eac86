/**
 * The table of what a gateway has learned: where each value lies, and how the control plane reads the whole. `learned.ts`
 * writes it.
 */
import { layoutOf } from '../layout.js';
import { fromV4, type Prefix } from '../wire/address.js';
import { MOST_RACED } from './candidates.js';

/** The values of one candidate, in doubles. */
const candidate = layoutOf({
  rtt: 1,
  variation: 1,
  samples: 1,
  wins: 1,
  /** How often in a row it was late: as the only one asked, or asked in a race since. */
  late: 1,
  /** When that was counted last. */
  lateAt: 1,
});

/** Before the entries, in doubles. */
const head = layoutOf({
  /** The number of entries: the first ones of the table; further memory was never written. */
  entries: 1,
  reserved: 7,
});
export const ENTRIES = head.entries;
export const FIRST = head.stride;

/** One entry, in doubles. */
const entryOf = layoutOf({
  /** -1 in an entry whose service has left. */
  service: 1,
  /** The first 32 bits of an IPv6 client's prefix, or the whole of an IPv4 client's. */
  prefix: 1,
  /** The other 16 bits of an IPv6 client's prefix, and {@link V6}; 0 for IPv4. */
  prefixLow: 1,
  /** When the entry was last used. */
  used: 1,
  /** When all candidates were last asked. */
  raced: 1,
  /** One bit for each candidate that took part in the last full race. */
  attempted: 1,
  /** Consecutive races in which a candidate did not answer. */
  retries: 1,
  /** Races and comparisons since a candidate was last measured as a new one. */
  races: 1,
  /** One bit for each candidate whose time was forgotten because it was late, and that is not proven yet. */
  doubted: 1,
  /** 1 until a second race, some time after the first, has proven the first one's times. */
  young: 1,
  /** Since when answers were late and no other machine's was in time; 0 after one that was. */
  lateSince: 1,
  candidates: MOST_RACED * candidate.stride,
});
export const SERVICE = entryOf.service;
export const PREFIX = entryOf.prefix;
export const PREFIX_LOW = entryOf.prefixLow;
export const USED = entryOf.used;
export const RACED = entryOf.raced;
export const ATTEMPTED = entryOf.attempted;
export const RETRIES = entryOf.retries;
export const RACES = entryOf.races;
export const DOUBTED = entryOf.doubted;
export const YOUNG = entryOf.young;
export const LATE_SINCE = entryOf.lateSince;
export const CANDIDATES = entryOf.candidates;
export const RTT = candidate.rtt;
export const VARIATION = candidate.variation;
export const SAMPLES = candidate.samples;
export const WINS = candidate.wins;
export const LATE = candidate.late;
export const LATE_AT = candidate.lateAt;
export const PER_CANDIDATE = candidate.stride;
export const STRIDE = entryOf.stride;

/** Bits of an IPv4 client's prefix, and of an IPv6 client's. */
export const PREFIX_BITS = 24;
export const PREFIX_BITS_V6 = 48;
/** In {@link PREFIX_LOW}: the entry is of an IPv6 client. */
export const V6 = 1 << 16;

export function learnedBytes(entries: number): number {
  return (FIRST + entries * STRIDE) * 8;
}

/**
 * Offset of a candidate's round trip. A function that returned the time itself might return it as an object, and the
 * data plane must not allocate.
 */
export const rttOf = (entry: number, candidate: number): number =>
  entry + CANDIDATES + candidate * PER_CANDIDATE + RTT;

export interface ProximityEntry {
  service: number;
  prefix: Prefix;
  /** When it was last used, and when its candidates were last raced: µs of the monotonic clock. */
  usedUs: number;
  racedUs: number;
  candidates: { candidate: number; rttUs: number; variationUs: number; samples: number; wins: number }[];
}

function prefixOf(word: number, low: number): Prefix {
  if (low === 0) return { address: fromV4(word << (32 - PREFIX_BITS)), bits: 96 + PREFIX_BITS };
  return { address: [word, low << 16, 0, 0], bits: PREFIX_BITS_V6 };
}

/** How many (service, client prefix) pairs are in the table, and how many there is room for. */
export const learnedSize = (table: Float64Array): { entries: number; room: number } => ({
  entries: table[ENTRIES] ?? 0,
  room: Math.floor(Math.max(0, table.length - FIRST) / STRIDE),
});

/** The whole table, for the control plane. */
export function readLearned(table: Float64Array): ProximityEntry[] {
  const out: ProximityEntry[] = [];
  for (let n = 0; n < (table[ENTRIES] ?? 0); n++) {
    const base = FIRST + n * STRIDE;
    if (table[base + SERVICE] < 0 || table[base + USED] === 0) continue;
    const candidates: ProximityEntry['candidates'] = [];
    for (let candidate = 0; candidate < MOST_RACED; candidate++) {
      const c = base + CANDIDATES + candidate * PER_CANDIDATE;
      if (table[c + SAMPLES] === 0 && table[c + WINS] === 0) continue;
      candidates.push({
        candidate,
        rttUs: table[c + RTT],
        variationUs: table[c + VARIATION],
        samples: table[c + SAMPLES],
        wins: table[c + WINS],
      });
    }
    const prefix = prefixOf(table[base + PREFIX], table[base + PREFIX_LOW]);
    out.push({
      ...{ service: table[base + SERVICE], prefix, candidates },
      ...{ usedUs: table[base + USED], racedUs: table[base + RACED] },
    });
  }
  return out;
}
