/**
 * The entries of what a gateway has learned: how one is found or made, what it begins with, and what is forgotten with a
 * machine or a service. The data plane alone writes the table (`learned-table.ts`); times in microseconds.
 */
import type { Clock } from '../device/clock.js';
import type { ServiceNumber } from '../flow/numbers.js';
import { V4_MAPPED } from '../wire/address.js';
import { MOST_RACED } from './candidates.js';
import {
  ATTEMPTED,
  CANDIDATES,
  DOUBTED,
  ENTRIES,
  FIRST,
  LATE,
  PER_CANDIDATE,
  PREFIX,
  PREFIX_BITS,
  PREFIX_LOW,
  RACED,
  RACES,
  RTT,
  rttOf,
  SAMPLES,
  SERVICE,
  STRIDE,
  USED,
  V6,
  VARIATION,
} from './learned-table.js';
import type { Seed } from './site.js';

/** Entries per bucket; in a full one the entry that was unused for longest is replaced. */
const WAYS = 4;
/** By this share a probed time differs from a learned one before it is believed instead. */
const NEWS = 0.15;
/** Two candidates that differ by less than this share connections: over a wide area no user notices the difference. */
export const SHARE_US = 1000;
/** Two round trips that differ by less than this are not told apart, whatever their variation. */
export const LEAST_JITTER_US = 500;

/** Whether this candidate's times can be kept: a machine that is no candidate of a service has the number -1. */
export const isKnown = (candidate: number): boolean => candidate >= 0 && candidate < MOST_RACED;

export class LearnedEntries {
  readonly #mask: number;
  /** By bucket and way: the offset of an entry; 0 for none. */
  readonly #ways: Int32Array;
  /** What other gateways of the same site have measured. */
  seeds: readonly Seed[] = [];
  /** What this gateway's own probes have measured: a candidate's round trip in µs; 0 where it is not known. */
  probed: (service: ServiceNumber, candidate: number) => number = () => 0;

  /** @param clock read here, because a time passed as an argument would be boxed: garbage for each connection */
  constructor(
    readonly table: Float64Array,
    readonly clock: Clock,
  ) {
    let buckets = 1;
    while (buckets * 2 * WAYS * STRIDE + FIRST <= table.length) buckets *= 2;
    this.#mask = table.length < WAYS * STRIDE + FIRST ? -1 : buckets - 1;
    this.#ways = new Int32Array(this.#mask < 0 ? 0 : buckets * WAYS);
  }

  /**
   * The entry's offset; the entry is made if there is none. -1 when there is no table.
   * @param words the client's address is in four words from `at` on
   */
  entry(service: ServiceNumber, words: Int32Array, at: number): number {
    if (this.#mask < 0) return -1;
    const isV4 = words[at] === 0 && words[at + 1] === 0 && words[at + 2] === V4_MAPPED;
    const prefix = isV4 ? words[at + 3] >>> (32 - PREFIX_BITS) : words[at];
    const low = isV4 ? 0 : (words[at + 1] >>> 16) | V6;
    const { table } = this;
    const hash = Math.imul(prefix ^ Math.imul(low ^ Math.imul(service + 1, 0x9e3779b1), 31), 0x85ebca6b);
    const bucket = ((hash ^ (hash >>> 15)) & this.#mask) * WAYS;
    let oldest = 0;
    for (let way = 0; way < WAYS; way++) {
      const base = this.#ways[bucket + way];
      if (base === 0) {
        oldest = this.#another();
        this.#ways[bucket + way] = oldest;
        break;
      }
      const isPrefix = table[base + PREFIX] === prefix && table[base + PREFIX_LOW] === low;
      if (table[base + SERVICE] === service && isPrefix) {
        table[base + USED] = this.clock.nowUs;
        return base;
      }
      if (oldest === 0 || table[base + USED] < table[oldest + USED]) oldest = base;
    }
    table.fill(0, oldest, oldest + STRIDE);
    table[oldest + SERVICE] = service;
    table[oldest + PREFIX] = prefix;
    table[oldest + PREFIX_LOW] = low;
    table[oldest + USED] = this.clock.nowUs;
    this.#plant(oldest, service);
    return oldest;
  }

  /** The offset of an entry that was never used. There are as many as there are ways. */
  #another(): number {
    const n = this.table[ENTRIES]++;
    return FIRST + n * STRIDE;
  }

  /**
   * A new entry starts with the times that this gateway's probes have measured, and the other gateways of its site: what is
   * near is known before the first SYN.
   */
  #plant(entry: number, service: ServiceNumber): void {
    for (let k = 0; k < this.seeds.length; k++) {
      const { service: of, candidate, rttUs, variationUs } = this.seeds[k];
      if (of === service && isKnown(candidate)) this.#seed(entry, candidate, rttUs, variationUs);
    }
    for (let c = 1; c < MOST_RACED; c++) {
      const rttUs = this.probed(service, c);
      if (rttUs > 0) this.#seed(entry, c, rttUs, LEAST_JITTER_US);
    }
  }

  /** A time that was not measured with SYNs: believed like one sample. */
  #seed(entry: number, candidate: number, rttUs: number, variationUs: number): void {
    const { table } = this;
    const c = entry + CANDIDATES + candidate * PER_CANDIDATE;
    table[c + RTT] = rttUs;
    table[c + VARIATION] = variationUs;
    table[c + SAMPLES] = 1;
    table[c + LATE] = 0;
    table[entry + DOUBTED] &= ~(1 << candidate);
    table[entry + ATTEMPTED] |= 1 << candidate;
    table[entry + RACES] = 0;
    if (table[entry + RACED] === 0) table[entry + RACED] = this.clock.nowUs;
  }

  /**
   * Probes have found that a candidate is at another distance than before, or it has become a candidate: for every prefix
   * it starts with this time. Where SYNs tell the same, they are believed further.
   */
  moved(service: ServiceNumber, candidate: number, rttUs: number): void {
    const { table } = this;
    for (let n = 0; n < table[ENTRIES]; n++) {
      const entry = FIRST + n * STRIDE;
      if (table[entry + SERVICE] !== service) continue;
      const isNews = Math.abs(table[rttOf(entry, candidate)] - rttUs) > Math.max(SHARE_US, NEWS * rttUs);
      if (isNews || this.samples(entry, candidate) === 0)
        this.#seed(entry, candidate, rttUs, LEAST_JITTER_US);
    }
  }

  /** Forgets all times of a service's candidate number, because it means another machine from now on. */
  forgetCandidate(service: ServiceNumber, candidateNumber: number): void {
    const { table } = this;
    for (let n = 0; n < table[ENTRIES]; n++) {
      const base = FIRST + n * STRIDE;
      if (table[base + SERVICE] !== service) continue;
      const c = base + CANDIDATES + candidateNumber * PER_CANDIDATE;
      if (table[c + SAMPLES] > 0) table[base + RACES] = 0;
      table.fill(0, c, c + PER_CANDIDATE);
      table[base + ATTEMPTED] &= ~(1 << candidateNumber);
      table[base + DOUBTED] &= ~(1 << candidateNumber);
    }
  }

  /** Forgets all entries of a service number, because it means another service from now on. */
  forgetService(service: ServiceNumber): void {
    const { table } = this;
    for (let n = 0; n < table[ENTRIES]; n++) {
      const base = FIRST + n * STRIDE;
      if (table[base + SERVICE] !== service) continue;
      table.fill(0, base, base + STRIDE);
      table[base + SERVICE] = -1;
    }
  }

  samples(entry: number, candidate: number): number {
    return this.table[entry + CANDIDATES + candidate * PER_CANDIDATE + SAMPLES];
  }
}
