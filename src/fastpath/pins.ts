/**
 * The data plane's hand on the kernel's flows: pins decided flows in batches, follows what the hooks
 * note of them, and takes them out when their time has passed. The kernel decides nothing: an entry is
 * there because it was written here, and is swept from here.
 */
import type { Clock } from '../device/clock.js';
import type { FlowEntry } from '../flow/numbers.js';
import {
  ANSWERED,
  CLIENT_FIN,
  CLOSING,
  ESTABLISHED,
  OPENING,
  PINNED,
  SERVER_FIN,
  UNDECIDED,
} from '../flow/states.js';
import { type FlowTable, tickOf } from '../flow/table.js';
import type { Stage } from '../pipeline/batch.js';
import {
  ENDPOINT_KEY,
  ENDPOINT_VALUE,
  FLOW_KEY,
  FLOW_VALUE,
  firstByteUs,
  idleUs,
  type KernelEndpoint,
  readFlowKey,
  SEEN_CLIENT_ACK,
  SEEN_CLIENT_FIN,
  SEEN_RST,
  SEEN_SERVER_FIN,
  seen,
  targetPort,
  targetWord,
  WAITING,
  writeEndpoint,
  writeFlow,
  writeFlowKey,
} from './layout.js';
import { bpf } from './native.js';

/** What {@link Pins} takes of the pipeline's kernel handles. */
export interface PinHandles {
  /** Descriptors of the maps of these names. */
  flows: number;
  endpoints: number;
  /** Packets of a decided flow that go through the TUN before it is pinned; 0: none. */
  after: number;
}

/** Pins of one batch of packets; more are written in between. */
const QUEUE = 512;
/** Entries that one tick looks at, so that a million are seen every 25 s and a few thousand ten times a second. */
const SCANNED = 4096;

/** To walk a table costs the same when nothing is in it. */
const EMPTY_TICKS = 10;

/** A SYN that the kernel sent is followed within milliseconds, or not at all. */
const UNFOLLOWED_US = 5e6;

export interface PinEvents {
  /** A flow that the kernel carries and this process does not know: a predecessor's. Fills in the program's columns. */
  adopted(e: FlowEntry): void;
  /** The first data came back, this long after the client's. */
  firstByte(e: FlowEntry, us: number): void;
}

/** The stage that writes what the batch decided, before its packets leave. */
export const writePins =
  (pins: Pins): Stage =>
  () =>
    pins.flush();

export class Pins {
  readonly #flows: FlowTable;
  readonly #keys = new Uint8Array(QUEUE * FLOW_KEY);
  readonly #values = new Uint8Array(QUEUE * FLOW_VALUE);
  readonly #keyView = new DataView(this.#keys.buffer);
  readonly #valueView = new DataView(this.#values.buffer);
  readonly #entries = new Int32Array(QUEUE);
  #queued = 0;

  readonly #key = new Uint8Array(FLOW_KEY);
  readonly #one = new Uint8Array(FLOW_VALUE);
  readonly #keyOne = new DataView(this.#key.buffer);
  readonly #viewOne = new DataView(this.#one.buffer);

  readonly #cursor = new Uint8Array(4);
  readonly #scanKeys = new Uint8Array(SCANNED * FLOW_KEY);
  readonly #scanValues = new Uint8Array(SCANNED * FLOW_VALUE);
  readonly #scanKeyView = new DataView(this.#scanKeys.buffer);
  readonly #scanValueView = new DataView(this.#scanValues.buffer);
  #scanning = false;
  #adopted = false;
  #adopting = false;
  /** Entries seen by the pass under way, and by the last whole one. */
  #seen = 0;
  live = 0;
  /** Ticks since an empty table was looked at. */
  #spared = 0;
  /** Endpoints that this process has written, by their keys; and whether a predecessor's have been looked for. */
  #written: ReadonlySet<string> = new Set();
  #othersForgotten = false;
  /** By entry: packets through the TUN so far, where pinning waits for some. */
  readonly #carried: Uint16Array;

  constructor(
    readonly fds: PinHandles,
    flows: FlowTable,
    readonly idle: Int32Array,
    readonly clock: Clock,
    readonly events: PinEvents,
  ) {
    this.#flows = flows;
    this.#carried = new Uint16Array(fds.after > 0 ? flows.capacity : 0);
  }

  /** Flows are pinned in mid-transfer, not when they are decided. */
  get isLate(): boolean {
    return this.fds.after > 0;
  }

  /** Whether a flow of which one more packet came through the TUN is to be pinned now. */
  isDue(e: FlowEntry): boolean {
    if (this.fds.after === 0) return true;
    if (++this.#carried[e] <= this.fds.after) return false;
    this.#carried[e] = 0;
    return true;
  }

  /** Arranges that the kernel carries this flow, from {@link flush} on. */
  pin(e: FlowEntry, mode: number): void {
    if (this.#queued === QUEUE) this.flush();
    const { marks } = this.#flows;
    const n = this.#queued++;
    const known =
      ((marks[e] & CLIENT_FIN) !== 0 ? SEEN_CLIENT_FIN : 0) |
      ((marks[e] & SERVER_FIN) !== 0 ? SEEN_SERVER_FIN : 0) |
      (this.#flows.state[e] === ESTABLISHED ? SEEN_CLIENT_ACK : 0);
    writeFlowKey(this.#keyView, n * FLOW_KEY, this.#flows, e);
    writeFlow(this.#valueView, n * FLOW_VALUE, this.#flows, e, mode, known, this.clock.nowUs);
    this.#entries[n] = e;
    marks[e] |= PINNED;
  }

  /** Writes what was pinned, before the packets that decided it leave. */
  flush(): void {
    for (let from = 0; from < this.#queued; ) {
      const written = bpf.update(
        this.fds.flows,
        from === 0 ? this.#keys : this.#keys.subarray(from * FLOW_KEY),
        FLOW_KEY,
        from === 0 ? this.#values : this.#values.subarray(from * FLOW_VALUE),
        FLOW_VALUE,
        this.#queued - from,
      );
      from += written;
      // One that found no room stays on the TUN.
      if (from < this.#queued) {
        this.#flows.marks[this.#entries[from++]] &= ~PINNED;
      }
    }
    this.#queued = 0;
  }

  /** Takes the flow out of the kernel. Before its entry goes. */
  release(e: FlowEntry): void {
    if ((this.#flows.marks[e] & PINNED) === 0) return;
    this.flush();
    writeFlowKey(this.#keyOne, 0, this.#flows, e);
    bpf.remove(this.fds.flows, this.#key, FLOW_KEY, 1);
    this.#flows.marks[e] &= ~PINNED;
  }

  /** Brings an entry up to what the kernel has seen of its flow. */
  refresh(e: FlowEntry): void {
    if ((this.#flows.marks[e] & PINNED) === 0) return;
    this.flush();
    writeFlowKey(this.#keyOne, 0, this.#flows, e);
    if (bpf.lookup(this.fds.flows, this.#key, this.#one) === 0) {
      this.#flows.marks[e] &= ~PINNED;
      return;
    }
    this.#follow(e, this.#viewOne, 0);
  }

  /** Whether an entry whose time has passed lives on; if it does not, the kernel forgets it too. */
  readonly outlives = (e: FlowEntry): boolean => {
    if ((this.#flows.marks[e] & PINNED) === 0) return false;
    this.refresh(e);
    if (((tickOf(this.clock.nowUs) - this.#flows.expiresAt[e]) | 0) <= 0) return true;
    this.release(e);
    return false;
  };

  /** Ten times a second: looks at the next part of the kernel's table; at an empty one every tenth time. */
  tick(): void {
    this.flush();
    if (!this.#scanning && !this.#adopting && this.live === 0 && this.#flows.size === 0) {
      this.#spared = (this.#spared + 1) % EMPTY_TICKS;
      if (this.#spared !== 0) return;
    }
    const first = this.#scanning ? 0 : 1;
    const n = bpf.scan(this.fds.flows, this.#cursor, first, this.#scanKeys, this.#scanValues, SCANNED);
    const count = n < 0 ? -1 - n : n;
    for (let k = 0; k < count; k++) this.#meet(k * FLOW_KEY, k * FLOW_VALUE);
    this.#seen += count;
    this.#scanning = n >= 0;
    if (this.#scanning) return;
    this.live = this.#seen;
    this.#seen = 0;
  }

  /** Takes over all that a predecessor pinned; once, when it is known who serves what. */
  adopt(): void {
    if (this.#adopted) return;
    this.#adopted = true;
    this.#adopting = true;
    do this.tick();
    while (this.#scanning);
    this.#adopting = false;
  }

  #forget(key: number): void {
    this.#key.set(this.#scanKeys.subarray(key, key + FLOW_KEY));
    bpf.remove(this.fds.flows, this.#key, FLOW_KEY, 1);
  }

  #meet(key: number, value: number): void {
    const flows = this.#flows;
    readFlowKey(this.#scanKeyView, key, flows);
    let e = flows.find();
    if (e < 0 && (seen(this.#scanValueView, value) & WAITING) !== 0) {
      // A SYN that nobody answered and nobody follows, a predecessor's or one that the full table had no room
      // for: the client will send it again, and it races.
      const idle = idleUs(this.#scanValueView, value, this.clock.nowUs);
      if (this.#adopting || idle > UNFOLLOWED_US) this.#forget(key);
      return;
    }
    if (e < 0) {
      e = flows.insert();
      if (e < 0) return;
      flows.state[e] = OPENING;
      for (let w = 0; w < 4; w++) flows.target[e * 4 + w] = targetWord(this.#scanValueView, value, w);
      flows.targetPort[e] = targetPort(this.#scanValueView, value);
      flows.marks[e] |= PINNED;
      this.events.adopted(e);
    }
    // A race that began meanwhile has taken the flow out, or is about to.
    if ((flows.marks[e] & PINNED) === 0 || flows.state[e] === UNDECIDED) return;
    this.#follow(e, this.#scanValueView, value);
  }

  #follow(e: FlowEntry, view: DataView, at: number): void {
    const flows = this.#flows;
    const bits = seen(view, at);
    if ((bits & WAITING) !== 0) return;
    const fins = SEEN_CLIENT_FIN | SEEN_SERVER_FIN;
    let state = flows.state[e];
    if ((bits & SEEN_CLIENT_FIN) !== 0) flows.marks[e] |= CLIENT_FIN;
    if ((bits & SEEN_SERVER_FIN) !== 0) flows.marks[e] |= SERVER_FIN;
    if ((bits & SEEN_RST) !== 0 || (bits & fins) === fins) state = CLOSING;
    else if (state === OPENING && (bits & SEEN_CLIENT_ACK) !== 0) state = ESTABLISHED;
    flows.state[e] = state;
    flows.expiresAt[e] = tickOf(this.clock.nowUs - idleUs(view, at, this.clock.nowUs)) + this.idle[state];
    const first = firstByteUs(view, at);
    if (first === 0 || (flows.marks[e] & ANSWERED) !== 0) return;
    flows.marks[e] |= ANSWERED;
    this.events.firstByte(e, first - 1);
  }

  /**
   * Which addresses and ports speak for which service. Endpoints that are no longer in the list are taken out of the
   * kernel's map: the program lists each one for as long as flows need it.
   * @param mayForgetOthers false while flows may need endpoints that only a predecessor knew: those stay then
   */
  endpoints(list: readonly KernelEndpoint[], mayForgetOthers: boolean): void {
    const keys = new Uint8Array(list.length * ENDPOINT_KEY);
    const values = new Uint8Array(list.length * ENDPOINT_VALUE);
    const [k, v] = [new DataView(keys.buffer), new DataView(values.buffer)];
    list.forEach((e, n) => {
      writeEndpoint(k, v, n, e);
    });
    const named = new Set<string>();
    for (let n = 0; n < list.length; n++) named.add(nameOfKey(keys, n));
    const before = mayForgetOthers && !this.#othersForgotten ? this.#endpointsInKernel() : this.#written;
    this.#othersForgotten ||= mayForgetOthers;
    // First those that go: the map may be full.
    const gone = [...before].filter((name) => !named.has(name));
    if (gone.length > 0)
      bpf.remove(this.fds.endpoints, Buffer.from(gone.join(''), 'hex'), ENDPOINT_KEY, gone.length);
    if (list.length > 0)
      bpf.update(this.fds.endpoints, keys, ENDPOINT_KEY, values, ENDPOINT_VALUE, list.length);
    this.#written = named;
  }

  /** Every key of the kernel's map, a predecessor's too. */
  #endpointsInKernel(): Set<string> {
    const found = new Set<string>();
    const keys = new Uint8Array(SCANNED * ENDPOINT_KEY);
    const values = new Uint8Array(SCANNED * ENDPOINT_VALUE);
    const cursor = new Uint8Array(4);
    for (let first = 1; ; first = 0) {
      const n = bpf.scan(this.fds.endpoints, cursor, first, keys, values, SCANNED);
      const count = n < 0 ? -1 - n : n;
      for (let i = 0; i < count; i++) found.add(nameOfKey(keys, i));
      if (n < 0) return found;
    }
  }
}

const nameOfKey = (keys: Uint8Array, n: number): string =>
  Buffer.from(keys.buffer, keys.byteOffset + n * ENDPOINT_KEY, ENDPOINT_KEY).toString('hex');
