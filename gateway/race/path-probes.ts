/**
 * Probes the paths to replicas with packets of several sizes, in the form in which clients' packets travel, with DF set
 * (`src/wire/path-probe.ts`; in the spirit of RFC 8899): whether the form arrives at all, and the largest packet that
 * arrives, each way. It needs no ICMP error.
 *
 * The first round tries every size at once, with a small answer and with one as large. Later rounds send a small packet
 * and the largest ones that are known to pass. Where only the small one is answered twice in a row, every size is tried
 * again; so is a path that was found narrow, after ten minutes. Until the first round is judged, servers are told an
 * MSS that nearly every path carries, because a download that is stuck has nothing to learn from.
 *
 * Probes come from an address of the first client prefix, so their answers come back the way that replicas' packets do.
 */
import type { Clock } from '../../src/device/clock.js';
import type { HoldQueue } from '../../src/device/hold-queue.js';
import { TICK_US } from '../../src/flow/table.js';
import { type Batch, OPEN } from '../../src/pipeline/batch.js';
import type { PathMtus } from '../../src/pipeline/path-mtus.js';
import type { Quotation } from '../../src/pipeline/quotation.js';
import type { KeyWords } from '../../src/race/keyring.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as probe from '../../src/wire/path-probe.js';
import type { SipKey } from '../../src/wire/siphash.js';
import * as udp from '../../src/wire/udp.js';
import { reasons } from './reasons.js';

export interface ProbeTarget {
  /** The replica's IPv4 address as a word. */
  address: number;
  /** {@link probe.PLAIN} or {@link probe.TUNNELLED} */
  form: number;
  /** The key that this gateway shares with the replica; without it the gateway's own is used. */
  key?: KeyWords;
}

/** The most paths that are probed. */
export const MOST_PATHS = 256;
/** Words per path in shared memory: {@link pathWords}. */
export const PATH_WORDS = 8;
export const pathsBytes = MOST_PATHS * PATH_WORDS * 8;
/** Places of a path's words. In a free place all are 0. */
export const pathWords = {
  address: 0,
  form: 1,
  /** Rounds in which the small probe was answered, and how many there were since the last one. */
  answered: 2,
  silent: 3,
  /** The largest packet that arrives at the replica, and at the gateway; 0 while it is not known. */
  mtuOut: 4,
  mtuIn: 5,
  /** Of the last small probe. */
  rttUs: 6,
} as const;

/** The word with which a probe waits in the hold queue. */
export const PROBE = -2;

/** In ticks of a tenth of a second: a round that tries every size is judged once three round trips have passed. */
const SOON = 2;
const PATIENCE = 10;
const STEADY = 20;
const RAISE = 6000;
/** The most probes of one tick, so that a large fleet does not make a burst. */
const PER_TICK = 48;
/** What a path is taken to carry until it is judged: the least MTU of IPv6. */
const UNJUDGED = 1280;
/** A replica that answered none of so many rounds has no software that answers, or an older one. */
const MUTE = 3;
/** Misses in a row that are not taken for chance. */
const MISSES = 2;

/** The largest probe: what one slot of the hold queue takes. Whether larger packets pass is not known. */
export const MOST_BYTES = 1900;
/** The sizes that are tried: those of usual links and tunnels, and steps between. The interface's own comes first. */
const SIZES = [
  1492, 1480, 1472, 1460, 1448, 1440, 1430, 1420, 1410, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1200, 1024,
  576,
];
/** Slots in a probe's number: the small one, then the sizes with a small answer, then those with an answer as large. */
const SMALL = 0;
const OUT = 1;
const BOTH = 64;

const STATE_STEADY = 0;
const STATE_SEARCH = 1;

const nameOf = (t: ProbeTarget): string => `${t.address} ${t.form}`;

export class PathProbes {
  /** Takes the answers to probes of `near-probes.ts`, whose numbers are negative. */
  near: (batch: Batch, i: number, p: number) => void = (batch, i) => batch.drop(i, reasons.dropProbe);
  /** By place; a path keeps its place as long as it is probed. */
  readonly #targets: (ProbeTarget | undefined)[] = [];
  #source = 0;
  #sizes: readonly number[] = SIZES;
  readonly #keys: SipKey[] = [];
  readonly #nextTick = new Int32Array(MOST_PATHS);
  readonly #round = new Uint8Array(MOST_PATHS);
  readonly #state = new Uint8Array(MOST_PATHS);
  /** Whether the round that was sent last is not judged yet. */
  readonly #isOpen = new Uint8Array(MOST_PATHS);
  readonly #sentUs = new Float64Array(MOST_PATHS);
  readonly #raiseTick = new Int32Array(MOST_PATHS);
  /** Answers of the open round: the small one, and one bit per size each. */
  readonly #small = new Uint8Array(MOST_PATHS);
  readonly #out = new Int32Array(MOST_PATHS);
  readonly #both = new Int32Array(MOST_PATHS);
  readonly #missedOut = new Uint8Array(MOST_PATHS);
  readonly #missedBoth = new Uint8Array(MOST_PATHS);
  /** The index in the sizes that is known to pass each way. */
  readonly #at = new Uint8Array(MOST_PATHS);
  readonly #atBoth = new Uint8Array(MOST_PATHS);
  #hand = 0;

  readonly #packet = new Uint8Array(64 + 2048);
  readonly #view = new DataView(this.#packet.buffer);
  readonly #request: probe.Request;

  constructor(
    readonly key: SipKey,
    gatewayId: number,
    readonly keyId: number,
    readonly hold: HoldQueue,
    readonly clock: Clock,
    readonly memory: Float64Array,
    /** The path MTUs towards replicas, and from them. */
    readonly outward: PathMtus,
    readonly inward: PathMtus,
  ) {
    const none = {
      source: 0,
      destination: 0,
      sport: probe.PORT,
      length: 0,
      replyLength: 0,
      form: 0,
      number: 0,
    };
    this.#request = { ...none, gatewayId, keyId, isPaired: false };
  }

  /** @param source an address of this gateway's clients, as a word */
  load(targets: readonly ProbeTarget[], source: number, wanMtu: number, nowTick: number): void {
    const most = Math.min(wanMtu, MOST_BYTES);
    const sizes = [most, ...SIZES.filter((s) => s < most)];
    const isNew = sizes[0] !== this.#sizes[0] || source !== this.#source;
    this.#source = source;
    this.#sizes = sizes;
    this.#forgetOthers(targets);
    const known = new Map(this.#targets.map((t, n) => [t === undefined ? '' : nameOf(t), n]));
    for (const t of targets) {
      const n = known.get(nameOf(t)) ?? this.#free();
      if (n === undefined) break;
      if (isNew || this.#targets[n] === undefined) this.#begin(n, t, nowTick);
      this.#keys[n] = t.key === undefined ? this.key : Int32Array.from(t.key.words);
      this.#targets[n] = t;
    }
  }

  /** Ticks between two rounds of a path: of more paths each is probed less often, thirty packets a second at most. */
  get #pause(): number {
    return Math.max(STEADY, this.#targets.length);
  }

  /** Frees the places of paths that are not listed any more. */
  #forgetOthers(targets: readonly ProbeTarget[]): void {
    const listed = new Set(targets.map(nameOf));
    const addresses = new Set(targets.map((t) => t.address));
    this.#targets.forEach((t, n) => {
      if (t === undefined || listed.has(nameOf(t))) return;
      this.#targets[n] = undefined;
      this.memory.fill(0, n * PATH_WORDS, (n + 1) * PATH_WORDS);
      if (addresses.has(t.address)) return;
      this.outward.set(t.address, 0, 0);
      this.inward.set(t.address, 0, 0);
    });
  }

  /** A place for one more path; undefined when all are taken. */
  #free(): number | undefined {
    const n = this.#targets.indexOf(undefined);
    if (n >= 0) return n;
    return this.#targets.length < MOST_PATHS ? this.#targets.length : undefined;
  }

  #begin(n: number, t: ProbeTarget, nowTick: number): void {
    this.#targets[n] = t;
    for (const column of [this.#isOpen, this.#missedOut, this.#missedBoth, this.#at, this.#atBoth])
      column[n] = 0;
    this.#state[n] = STATE_SEARCH;
    this.inward.set(t.address, UNJUDGED, nowTick);
    this.#nextTick[n] = nowTick;
    this.memory.fill(0, n * PATH_WORDS, (n + 1) * PATH_WORDS);
    this.memory[n * PATH_WORDS + pathWords.form] = t.form;
    this.memory[n * PATH_WORDS + pathWords.address] = t.address;
  }

  /** Judges the rounds whose time has come, and sends the next ones. */
  tick(nowTick: number): void {
    const count = this.#targets.length;
    let sent = 0;
    for (let k = 0; k < count && sent < PER_TICK; k++) {
      const n = this.#hand;
      this.#hand = n + 1 < count ? n + 1 : 0;
      if (this.#targets[n] === undefined || ((nowTick - this.#nextTick[n]) | 0) < 0) continue;
      if (this.#isOpen[n] !== 0 && !this.#judge(n, nowTick)) continue;
      sent += this.#send(n, nowTick);
    }
  }

  /** Whether answers to the round that was sent last may still come. */
  #mayAnswer(n: number, nowTick: number): boolean {
    const sinceUs = this.clock.nowUs - this.#sentUs[n];
    if (sinceUs >= PATIENCE * TICK_US) return false;
    const rttUs = this.memory[n * PATH_WORDS + pathWords.rttUs];
    if (this.#small[n] !== 0 && sinceUs >= 3 * rttUs) return false;
    this.#nextTick[n] = nowTick + 1;
    return true;
  }

  /** @returns whether the next round is to be sent now */
  #judge(n: number, nowTick: number): boolean {
    if (this.#mayAnswer(n, nowTick)) return false;
    this.#isOpen[n] = 0;
    const w = n * PATH_WORDS;
    if (this.#small[n] === 0) {
      this.memory[w + pathWords.silent]++;
      if (this.memory[w + pathWords.answered] > 0 || this.memory[w + pathWords.silent] < MUTE) return true;
      // Nothing is known of this path, and it costs less to ask less.
      this.inward.set(this.#targets[n]!.address, 0, nowTick);
      this.#state[n] = STATE_STEADY;
      this.#nextTick[n] = nowTick + this.#pause;
      return false;
    }
    this.memory[w + pathWords.answered]++;
    this.memory[w + pathWords.silent] = 0;
    if (this.#state[n] === STATE_SEARCH) this.#conclude(n, nowTick);
    else this.#confirm(n, nowTick);
    const isSure = this.#missedOut[n] === 0 && this.#missedBoth[n] === 0;
    if (this.#state[n] === STATE_SEARCH || !isSure) return true;
    this.#nextTick[n] = nowTick + this.#pause;
    return false;
  }

  #confirm(n: number, nowTick: number): void {
    const [at, atBoth] = [this.#at[n], this.#atBoth[n]];
    const passed = (this.#out[n] & (1 << at)) !== 0;
    const passedBoth = (this.#both[n] & (1 << atBoth)) !== 0;
    this.#missedOut[n] = passed ? 0 : this.#missedOut[n] + 1;
    this.#missedBoth[n] = passedBoth ? 0 : this.#missedBoth[n] + 1;
    const isNarrow = at > 0 || atBoth > 0;
    const mayBeWider = isNarrow && ((nowTick - this.#raiseTick[n]) | 0) >= 0;
    if (this.#missedOut[n] >= MISSES || this.#missedBoth[n] >= MISSES || mayBeWider)
      this.#state[n] = STATE_SEARCH;
    else if (passed && passedBoth) this.#note(n, nowTick);
  }

  #conclude(n: number, nowTick: number): void {
    const first = (bits: number): number => (bits === 0 ? -1 : 31 - Math.clz32(bits & -bits));
    const out = first(this.#out[n] | this.#both[n]);
    const both = first(this.#both[n]);
    this.#state[n] = STATE_STEADY;
    this.#missedOut[n] = 0;
    this.#missedBoth[n] = 0;
    this.#raiseTick[n] = nowTick + RAISE;
    // Nothing but the small packet passed: the next rounds tell whether that was chance.
    if (out < 0) return;
    this.#at[n] = out;
    this.#atBoth[n] = both < 0 ? this.#sizes.length - 1 : both;
    this.#note(n, nowTick);
  }

  #note(n: number, nowTick: number): void {
    const { address } = this.#targets[n]!;
    const out = this.#sizes[this.#at[n]];
    const back = this.#sizes[this.#atBoth[n]];
    this.memory[n * PATH_WORDS + pathWords.mtuOut] = out;
    this.memory[n * PATH_WORDS + pathWords.mtuIn] = back;
    this.outward.set(address, this.#at[n] === 0 ? 0 : out, nowTick);
    this.inward.set(address, this.#atBoth[n] === 0 ? 0 : back, nowTick);
  }

  #send(n: number, nowTick: number): number {
    this.#isOpen[n] = 1;
    this.#round[n]++;
    this.#small[n] = 0;
    this.#out[n] = 0;
    this.#both[n] = 0;
    this.#sentUs[n] = this.clock.nowUs;
    this.#nextTick[n] = nowTick + SOON;
    const sizes = this.#sizes;
    this.#put(n, probe.LEAST, probe.LEAST, SMALL);
    if (this.#state[n] !== STATE_SEARCH) {
      this.#put(n, sizes[this.#at[n]], probe.LEAST, OUT + this.#at[n]);
      this.#put(n, sizes[this.#atBoth[n]], sizes[this.#atBoth[n]], BOTH + this.#atBoth[n]);
      return 3;
    }
    for (let s = 0; s < sizes.length; s++) {
      this.#put(n, sizes[s], probe.LEAST, OUT + s);
      this.#put(n, sizes[s], sizes[s], BOTH + s);
    }
    return 2 * sizes.length + 1;
  }

  /** @param length of the packet on the wire, an outer header included */
  #put(n: number, length: number, replyLength: number, slot: number): void {
    const { address, form, key } = this.#targets[n]!;
    const outer = form === probe.TUNNELLED ? ipip.OVERHEAD : 0;
    const r = this.#request;
    r.source = this.#source;
    r.destination = address;
    r.length = Math.max(probe.LEAST, length - outer);
    r.replyLength = Math.max(probe.LEAST, replyLength - outer);
    r.form = form;
    r.number = (n << 16) | (this.#round[n] << 8) | slot;
    r.isPaired = key !== undefined;
    r.keyId = key === undefined ? this.keyId : key.id;
    let at = 64;
    this.#packet.fill(0);
    probe.writeRequest(this.#view, at, r, this.#keys[n]);
    if (outer > 0) at = ipip.encapsulate(this.#view, at, this.#source, address, 0);
    this.hold.pushIn(this.#packet, at, r.length + outer, this.clock, 0, PROBE);
  }

  /** Whether an ICMP error quotes a probe of this gateway. */
  isOwn(q: Quotation): boolean {
    return q.protocol === ipv4.PROTO_UDP && q.dport === probe.PORT && q.saddr === this.#source;
  }

  /**
   * Takes packet `i` where it is the answer to a probe; its columns are those of the UDP packet.
   * @returns whether it was one; then the packet is decided
   */
  take(batch: Batch, i: number, form: number): boolean {
    const { view } = batch;
    const p = batch.l4[i] + udp.HEADER;
    if (batch.sport[i] !== probe.PORT || batch.daddrV4(i) !== this.#source || batch.verdict[i] !== OPEN)
      return false;
    const length = udp.length(view, batch.l4[i]) - udp.HEADER;
    if (!probe.is(view, p, length, probe.REPLY)) return false;
    const number = probe.number(view, p);
    if (number < 0) {
      this.near(batch, i, p);
      return true;
    }
    const n = number >>> 16;
    const slot = number & 0xff;
    const t = this.#targets[n];
    const isOurs =
      t !== undefined &&
      t.address === batch.saddrV4(i) &&
      t.form === form &&
      this.#isOpen[n] !== 0 &&
      ((number >>> 8) & 0xff) === this.#round[n] &&
      probe.isPaired(view, p) === (t.key !== undefined) &&
      probe.isAuthentic(view, p, this.#keys[n]);
    if (!isOurs) {
      batch.drop(i, reasons.dropProbe);
      return true;
    }
    // An answer that was fragmented on its way, or before it left, did not pass as a whole.
    if (ipv4.dontFragment(view, batch.at[i])) this.#answered(n, slot);
    batch.drop(i, reasons.dropProbeAnswer);
    return true;
  }

  #answered(n: number, slot: number): void {
    if (slot >= BOTH) this.#both[n] |= 1 << (slot - BOTH);
    else if (slot >= OUT) this.#out[n] |= 1 << (slot - OUT);
    else {
      this.#small[n] = 1;
      this.memory[n * PATH_WORDS + pathWords.rttUs] = Math.max(0, this.clock.nowUs - this.#sentUs[n]);
    }
  }
}
