/**
 * What a gateway has learned: per service and client prefix, how long each candidate takes to acknowledge
 * a SYN, and how much that varies. From it follow who to ask alone, how long to wait before asking the
 * others too, and when to race again. Pure; times in microseconds. The table lies in memory that the
 * control plane reads; one writer.
 */
import type { Clock } from '../device/clock.js';
import type { CandidateNumber, ServiceNumber } from '../flow/numbers.js';
import { layoutOf } from '../layout.js';
import { MOST_RACED } from './candidates.js';

/** Of each candidate, in doubles. */
const candidate = layoutOf({ rtt: 1, variation: 1, samples: 1, wins: 1 });

/** One entry, in doubles. */
const entryOf = layoutOf({
  service: 1,
  prefix: 1,
  /** When it was last looked at. */
  used: 1,
  /** When all candidates were last asked. */
  raced: 1,
  /** Bits of the candidates that took part in the last full race. */
  attempted: 1,
  /** Races in a row that a candidate left unanswered. */
  retries: 1,
  /** Races and comparisons since a candidate was last measured anew. */
  races: 1,
  reserved: 1,
  candidates: MOST_RACED * candidate.stride,
});
const SERVICE = entryOf.service;
const PREFIX = entryOf.prefix;
const USED = entryOf.used;
const RACED = entryOf.raced;
const ATTEMPTED = entryOf.attempted;
const RETRIES = entryOf.retries;
const RACES = entryOf.races;
const CANDIDATES = entryOf.candidates;
const RTT = candidate.rtt;
const VARIATION = candidate.variation;
const SAMPLES = candidate.samples;
const WINS = candidate.wins;
const PER_CANDIDATE = candidate.stride;
const STRIDE = entryOf.stride;
/** Entries share a bucket; the one unused for longest makes room. */
const WAYS = 4;

/**
 * Gains of round trip and variation, as RFC 6298 has them but slower for the variation, and with errors
 * clipped: one late wake-up of a busy machine must not make two far machines look near each other. A path
 * that really changed is followed all the same, since the variation that clips grows with each surprise.
 */
const ALPHA = 1 / 8;
const BETA = 1 / 16;
const CLIP = 3;

/** Samples from which on a candidate's own variation means something. */
const ENOUGH_SAMPLES = 4;
/**
 * A first sample may be this much too long: neighbours to resolve, cold caches. Two that are closer are raced
 * until both have enough samples, or {@link MOST_RACES} have not given them.
 */
const UNSURE_US = 5000;
const MOST_RACES = 8;

/** Below this, two round trips are not told apart whatever the variation says. */
const LEAST_JITTER_US = 500;
/** Two that are closer share the work: over a wide area nobody notices the difference. */
const SHARE_US = 1000;
/** One that nobody compares while it stands must be ahead by more than what passes by chance. */
const CLEAR = 3;
/** The hedge: k times the expected time, and bounds as Happy Eyeballs has them (RFC 8305, 8). */
const HEDGE_FACTOR = 1.5;
const HEDGE_LEAST_US = 10_000;
const HEDGE_MOST_US = 2_000_000;
/** One connection in so many races again, so that what was learned never goes stale. */
export const RACE_AGAIN = 50;
/** Somebody who did not answer a race may have lost its SYN: raced again soon, and ever more rarely. */
const RETRY_US = 1e6;
const MOST_DOUBLINGS = 6;
/** Races in a row after which one that never answered is not waited for: chance loses one SYN, not these. */
const SILENT_RACES = 4;
/** Nothing older than this is believed. */
const STALE_US = 600e6;

/** Bits of an IPv4 client prefix. */
export const PREFIX_BITS = 24;

export function learnedBytes(entries: number): number {
  return entries * STRIDE * 8;
}

/** Answers of {@link Learned.choose}: ask everybody; ask those who are too near to be told apart yet. */
export const RACE = -1;
export const COMPARE = -2;

export class Learned {
  readonly #mask: number;
  /** What others have measured from the same site. */
  seeds: readonly {
    service: ServiceNumber;
    candidate: CandidateNumber;
    rttUs: number;
    variationUs: number;
  }[] = [];

  /** @param clock read here, as a time handed over would be boxed: garbage, for each connection */
  constructor(
    readonly table: Float64Array,
    readonly clock: Clock,
  ) {
    let buckets = 1;
    while (buckets * 2 * WAYS * STRIDE <= table.length) buckets *= 2;
    this.#mask = table.length < WAYS * STRIDE ? -1 : buckets - 1;
    for (let base = 0; base + STRIDE <= table.length; base += STRIDE) table[base + SERVICE] = -1;
  }

  /** The entry's place, made if it is not there; -1 when there is no table. */
  entry(service: ServiceNumber, client: number): number {
    if (this.#mask < 0) return -1;
    const prefix = client >>> (32 - PREFIX_BITS);
    const { table } = this;
    const hash = Math.imul(prefix ^ Math.imul(service + 1, 0x9e3779b1), 0x85ebca6b);
    const bucket = ((hash ^ (hash >>> 15)) & this.#mask) * WAYS * STRIDE;
    let oldest = bucket;
    for (let way = 0; way < WAYS; way++) {
      const base = bucket + way * STRIDE;
      if (table[base + SERVICE] === service && table[base + PREFIX] === prefix) {
        table[base + USED] = this.clock.nowUs;
        return base;
      }
      if (table[base + USED] < table[oldest + USED]) oldest = base;
    }
    table.fill(0, oldest, oldest + STRIDE);
    table[oldest + SERVICE] = service;
    table[oldest + PREFIX] = prefix;
    table[oldest + USED] = this.clock.nowUs;
    this.#plant(oldest, service);
    return oldest;
  }

  /** A new entry begins with what others of the site have measured. */
  #plant(entry: number, service: number): void {
    for (let k = 0; k < this.seeds.length; k++) {
      const s = this.seeds[k];
      if (s.service !== service || s.candidate >= MOST_RACED) continue;
      const c = entry + CANDIDATES + s.candidate * PER_CANDIDATE;
      this.table[c + RTT] = s.rttUs;
      this.table[c + VARIATION] = s.variationUs;
      this.table[c + SAMPLES] = 1;
      this.table[entry + ATTEMPTED] |= 1 << s.candidate;
      this.table[entry + RACED] = this.clock.nowUs;
    }
  }

  /** Takes a measured round trip over. */
  note(entry: number, candidate: number, rttUs: number): void {
    if (entry < 0 || candidate >= MOST_RACED) return;
    const { table } = this;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    if (table[c + SAMPLES] === 0) {
      table[c + RTT] = rttUs;
      table[c + VARIATION] = LEAST_JITTER_US;
    } else {
      const most = CLIP * table[c + VARIATION] + LEAST_JITTER_US;
      const error = Math.max(-most, Math.min(most, rttUs - table[c + RTT]));
      table[c + VARIATION] += BETA * (Math.abs(error) - table[c + VARIATION]);
      // The first few count alike.
      table[c + RTT] += Math.max(ALPHA, 1 / (table[c + SAMPLES] + 1)) * error;
    }
    table[c + SAMPLES]++;
  }

  won(entry: number, candidate: number): void {
    if (entry >= 0 && candidate < MOST_RACED)
      this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + WINS]++;
  }

  /** A candidate failed: it must prove itself in a race again. */
  forget(entry: number, candidate: number): void {
    if (entry < 0 || candidate >= MOST_RACED) return;
    this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + SAMPLES] = 0;
    this.table[entry + RACES] = 0;
  }

  /** A candidate's number is another machine's from now on. */
  forgetEverywhere(candidateNumber: number): void {
    if (candidateNumber >= MOST_RACED) return;
    const { table } = this;
    for (let base = 0; base + STRIDE <= table.length; base += STRIDE) {
      const c = base + CANDIDATES + candidateNumber * PER_CANDIDATE;
      if (table[c + SAMPLES] > 0) table[base + RACES] = 0;
      table.fill(0, c, c + PER_CANDIDATE);
      table[base + ATTEMPTED] &= ~(1 << candidateNumber);
    }
  }

  /** Notes that every candidate in `live` is being asked now. */
  raced(entry: number, live: number): void {
    if (entry < 0) return;
    // Somebody new is patience begun anew.
    const unanswered = (live & ~this.table[entry + ATTEMPTED]) === 0 && this.#unheard(entry, live);
    this.table[entry + RETRIES] = unanswered ? this.table[entry + RETRIES] + 1 : 0;
    this.table[entry + RACED] = this.clock.nowUs;
    this.table[entry + ATTEMPTED] = live;
    this.table[entry + RACES]++;
  }

  /**
   * Whom to ask alone, or {@link RACE}, or {@link COMPARE}.
   * @param live bit per candidate that may be asked
   * @param loads 0 … 1 per candidate; those too close to call share by what they have left
   * @param hash of the flow, a word: the choice is the same for every SYN of it
   */
  choose(entry: number, live: number, loads: Float64Array, hash: number): number {
    if (entry < 0) return RACE;
    const { table } = this;
    if (table[entry + RACED] === 0 || this.clock.nowUs - table[entry + RACED] > STALE_US) return RACE;
    // Somebody new has not been heard yet.
    if ((live & ~table[entry + ATTEMPTED]) !== 0) return RACE;
    const waited = this.clock.nowUs - table[entry + RACED];
    if (
      this.#unheard(entry, live) &&
      waited > RETRY_US * (1 << Math.min(table[entry + RETRIES], MOST_DOUBLINGS))
    )
      return RACE;
    const best = this.best(entry, live);
    if (best < 0) return RACE;
    if (this.#unsure(entry, live, best)) return COMPARE;
    let total = 0;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (this.#isNear(entry, best, c)) total += room(loads[c]);
    }
    let share = ((hash >>> 8) / 0x1000000) * total;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (!this.#isNear(entry, best, c)) continue;
      share -= room(loads[c]);
      if (share < 0) return c;
    }
    return best;
  }

  /** Whether everybody who answers at all has been heard and nobody else comes anywhere near this one. */
  isClear(entry: number, live: number, candidate: number): boolean {
    if (entry < 0 || this.best(entry, live) !== candidate) return false;
    if (this.#unheard(entry, live) && this.table[entry + RETRIES] < SILENT_RACES) return false;
    for (let left = live & ~(1 << candidate); left !== 0; left &= left - 1)
      if (this.#isNear(entry, candidate, lowest(left), CLEAR)) return false;
    return true;
  }

  /** The live candidate with the least expected round trip, or -1. */
  best(entry: number, live: number): number {
    let best = -1;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (this.samples(entry, c) === 0) continue;
      if (best < 0 || this.table[rttOf(entry, c)] < this.table[rttOf(entry, best)]) best = c;
    }
    return best;
  }

  /** Whether one of these has never acknowledged, or must prove itself again. */
  #unheard(entry: number, candidates: number): boolean {
    for (let left = candidates; left !== 0; left &= left - 1)
      if (this.samples(entry, lowest(left)) === 0) return true;
    return false;
  }

  /** Whether somebody may yet turn out to be as near as the best one, or nearer, once it is measured better. */
  #unsure(entry: number, live: number, best: number): boolean {
    if (this.table[entry + RACES] >= MOST_RACES) return false;
    const close = this.#close(entry, live, best);
    for (let left = close; left !== 0; left &= left - 1)
      if (this.samples(entry, lowest(left)) < ENOUGH_SAMPLES) return close !== 1 << best;
    return false;
  }

  /** Bits of those that may be as near as the best one, itself among them. */
  #close(entry: number, live: number, best: number): number {
    const table = this.table;
    let bits = 0;
    for (let left = live; left !== 0; left &= left - 1) {
      const c = lowest(left);
      if (this.samples(entry, c) === 0) continue;
      if (table[rttOf(entry, c)] - table[rttOf(entry, best)] <= UNSURE_US) bits |= 1 << c;
    }
    return bits;
  }

  /** Whom to ask when they are to be compared, a bit each; they count as having been. */
  compare(entry: number, live: number): number {
    this.table[entry + RACES]++;
    return this.#close(entry, live, this.best(entry, live));
  }

  /** Whether candidate `c` cannot be told apart from the best by `times` what was measured to vary. */
  #isNear(entry: number, best: number, c: number, times = 1): boolean {
    if (this.samples(entry, c) === 0) return false;
    const table = this.table;
    const behind = table[rttOf(entry, c)] - table[rttOf(entry, best)];
    return behind <= times * Math.max(SHARE_US, this.jitterUs(entry, best, c));
  }

  /** What the difference of two candidates' round trips varies by, in whole µs. */
  jitterUs(entry: number, a: number, b: number): number {
    if (a === b) return 0;
    const va = this.table[this.#variationOf(entry, a, b)];
    const vb = this.table[this.#variationOf(entry, b, a)];
    return Math.ceil(Math.max(LEAST_JITTER_US, Math.sqrt(va * va + vb * vb))) | 0;
  }

  /** Where a candidate's variation stands; while it is hardly measured, that of the one it is compared with. */
  #variationOf(entry: number, candidate: number, other: number): number {
    const measured = this.samples(entry, candidate) >= ENOUGH_SAMPLES ? candidate : other;
    return entry + CANDIDATES + measured * PER_CANDIDATE + VARIATION;
  }

  /** How long to wait for a candidate before the others are asked too, in whole µs. */
  hedgeUs(entry: number, candidate: number): number {
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    const expected = this.table[c + RTT] * HEDGE_FACTOR + 4 * this.table[c + VARIATION];
    return Math.min(HEDGE_MOST_US, Math.max(HEDGE_LEAST_US, expected)) | 0;
  }

  samples(entry: number, candidate: number): number {
    return this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + SAMPLES];
  }
}

/**
 * Where a candidate's round trip stands: what returns the number itself may be given it as an object, which
 * the data plane does not allocate.
 */
export const rttOf = (entry: number, candidate: number): number =>
  entry + CANDIDATES + candidate * PER_CANDIDATE + RTT;

/** The candidate of the lowest bit that is set. */
const lowest = (bits: number): number => 31 - Math.clz32(bits & -bits);

/** What a machine has left, never nothing: a full one would be busy, and not asked. */
function room(load: number): number {
  const left = Math.max(0.02, 1 - load);
  return left * left;
}

export interface ProximityEntry {
  service: number;
  /** The prefix's address as a word; {@link PREFIX_BITS} long. */
  prefix: number;
  candidates: { candidate: number; rttUs: number; variationUs: number; samples: number; wins: number }[];
}

/** The whole table, for the control plane. */
export function readLearned(table: Float64Array): ProximityEntry[] {
  const out: ProximityEntry[] = [];
  for (let base = 0; base + STRIDE <= table.length; base += STRIDE) {
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
    const prefix = (table[base + PREFIX] << (32 - PREFIX_BITS)) | 0;
    out.push({ service: table[base + SERVICE], prefix, candidates });
  }
  return out;
}
