/**
 * The data plane's interface to the kernel's flows: pins decided flows in batches, follows what the hooks record
 * about them, and removes expired ones. The kernel decides nothing: every entry was written by this file (or, for a
 * learned winner, by a hook on its behalf) and is removed by this file.
 */
import type { Clock } from '../device/clock.js';
import type { FlowEntry } from '../flow/numbers.js';
import {
  ANSWERED,
  CLIENT_FIN,
  CLOSING,
  DATAGRAMS,
  ESTABLISHED,
  FAILED,
  isClosing,
  OPENING,
  PINNED,
  REQUESTED,
  RESET_IN_KERNEL,
  SERVER_FIN,
  STANDS_US,
  UNDECIDED,
} from '../flow/states.js';
import { type FlowTable, tickOf } from '../flow/table.js';
import type { Stage } from '../pipeline/batch.js';
import {
  AWAKE,
  bytes,
  FLOW_KEY,
  FLOW_VALUE,
  firstByteUs,
  idleUs,
  readFlowKey,
  SEEN_CLIENT_ACK,
  SEEN_CLIENT_FIN,
  SEEN_RST,
  SEEN_SERVER_DATA,
  SEEN_SERVER_FIN,
  SEEN_SERVER_RST,
  seen,
  sinceAskedUs,
  targetPort,
  targetWord,
  WAITING,
  wasAsked,
  writeFlow,
  writeFlowKey,
  writeTimeNs,
} from './layout.js';
import { bpf } from './native.js';

/** The pipeline's kernel handles that {@link Pins} uses. */
export interface PinHandles {
  /** Descriptors of the maps of these names. */
  flows: number;
  awake: number;
  /** How many packets of a decided flow go through the TUN before it is pinned; 0 for none. */
  after: number;
}

/** Pins of one batch of packets; when there are more, the queue is written in between. */
const QUEUE = 512;
/** Entries that one tick reads: a million are read every 25 s, a few thousand ten times a second. */
const SCANNED = 4096;

/** Reading an empty table costs as much as reading a full one, so it is read in every tenth tick only. */
const EMPTY_TICKS = 10;

/** How long the hooks regard this thread as awake without a word from it: ten ticks. */
const AWAKE_US = 1e6;

/** A SYN that the kernel sent and that is not followed within milliseconds is never followed. */
const UNFOLLOWED_US = 5e6;

/** What a program does about flows in the kernel; a program that does nothing about one of these leaves it out. */
export interface PinEvents {
  /** A flow that the kernel carries and this process does not know: a predecessor's. Fills in the program's columns. */
  adopted?(e: FlowEntry): void;
  /** The client's first data passed. */
  requested?(e: FlowEntry): void;
  /** The server's first data passed, this long after the client's. */
  firstByte?(e: FlowEntry, us: number): void;
  /** The client's first data was not answered in time or before the connection's end, or the server reset it. */
  failed?(e: FlowEntry, byServer: boolean): void;
}

/** The stage that writes a batch's pins to the kernel, before its packets leave. Reads and sets no column. */
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
  /** Entries seen by the pass in progress, and by the last complete one. */
  #seen = 0;
  live = 0;
  /** Ticks since an empty table was last read. */
  #spared = 0;
  /** By entry: packets through the TUN so far, where a flow is pinned only after some. */
  readonly #carried: Uint16Array;

  constructor(
    readonly fds: PinHandles,
    flows: FlowTable,
    readonly idle: Int32Array,
    readonly clock: Clock,
    readonly events: PinEvents = {},
  ) {
    this.#flows = flows;
    this.#carried = new Uint16Array(fds.after > 0 ? flows.capacity : 0);
  }

  /** Whether decided flows may be pinned. The kernel carries on what it has. */
  allowed = true;

  /** Whether flows are pinned after some packets instead of when they are decided. */
  get isLate(): boolean {
    return this.fds.after > 0;
  }

  /** Counts one more packet of a flow through the TUN. @returns whether the flow is to be pinned now */
  isDue(e: FlowEntry): boolean {
    if (this.fds.after === 0) return true;
    if (++this.#carried[e] <= this.fds.after) return false;
    this.#carried[e] = 0;
    return true;
  }

  /** Queues this flow: the kernel carries it from {@link flush} on. */
  pin(e: FlowEntry, mode: number): void {
    if (!this.allowed) return;
    if (this.#queued === QUEUE) this.flush();
    const { marks } = this.#flows;
    const n = this.#queued++;
    const known =
      ((marks[e] & CLIENT_FIN) !== 0 ? SEEN_CLIENT_FIN : 0) |
      ((marks[e] & SERVER_FIN) !== 0 ? SEEN_SERVER_FIN : 0) |
      (this.#flows.state[e] === ESTABLISHED || this.#flows.state[e] === DATAGRAMS ? SEEN_CLIENT_ACK : 0);
    writeFlowKey(this.#keyView, n * FLOW_KEY, this.#flows, e);
    writeFlow(this.#valueView, n * FLOW_VALUE, this.#flows, e, mode, known, this.clock.nowUs);
    this.#entries[n] = e;
    marks[e] |= PINNED;
  }

  /** Writes the queued pins to the kernel, before the packets that decided them leave. */
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
      // A flow for which the map has no room stays on the TUN.
      if (from < this.#queued) {
        this.#flows.marks[this.#entries[from++]] &= ~PINNED;
      }
    }
    this.#queued = 0;
  }

  /** Removes the flow from the kernel. Call it before the flow's entry is removed. */
  release(e: FlowEntry): void {
    if ((this.#flows.marks[e] & PINNED) === 0) return;
    this.flush();
    writeFlowKey(this.#keyOne, 0, this.#flows, e);
    bpf.remove(this.fds.flows, this.#key, FLOW_KEY, 1);
    this.#flows.marks[e] &= ~PINNED;
  }

  /** Updates an entry from what the kernel has seen of its flow. */
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

  /** Whether the kernel carries the flow and has seen its client's acknowledgement. Updates an entry that is decided. */
  isConfirmed(e: FlowEntry): boolean {
    const { marks, state } = this.#flows;
    if ((marks[e] & PINNED) === 0) return false;
    this.flush();
    writeFlowKey(this.#keyOne, 0, this.#flows, e);
    if (bpf.lookup(this.fds.flows, this.#key, this.#one) === 0) {
      marks[e] &= ~PINNED;
      return false;
    }
    if (state[e] !== UNDECIDED) this.#follow(e, this.#viewOne, 0);
    return (seen(this.#viewOne, 0) & (WAITING | SEEN_CLIENT_ACK)) === SEEN_CLIENT_ACK;
  }

  /**
   * Whether the hooks have forgotten a flow that was pinned: while this process did not read its TUN yet, a new connection of
   * the flow's tuple passed it by. One system call.
   */
  isForgotten(e: FlowEntry): boolean {
    const { marks, state } = this.#flows;
    if ((marks[e] & PINNED) === 0 || !(isClosing(state[e]) || state[e] === OPENING)) return false;
    writeFlowKey(this.#keyOne, 0, this.#flows, e);
    return bpf.lookup(this.fds.flows, this.#key, this.#one) === 0;
  }

  /** µs since a hook saw the client's first data, as of the last {@link refresh}; -1 when none did. */
  refreshedUs(): number {
    const view = this.#viewOne;
    return wasAsked(view, 0) ? Math.max(0, sinceAskedUs(view, 0, this.clock.nowUs)) : -1;
  }

  /** Bytes of IP of the flow that the kernel carried, both ways. */
  bytes(e: FlowEntry): number {
    if ((this.#flows.marks[e] & PINNED) === 0) return 0;
    writeFlowKey(this.#keyOne, 0, this.#flows, e);
    return bpf.lookup(this.fds.flows, this.#key, this.#one) === 0 ? 0 : bytes(this.#viewOne, 0);
  }

  /** Whether the kernel has seen later packets of an expired entry; if not, its kernel entry is removed too. */
  readonly outlives = (e: FlowEntry): boolean => {
    if ((this.#flows.marks[e] & PINNED) === 0) return false;
    this.refresh(e);
    if (((tickOf(this.clock.nowUs) - this.#flows.expiresAt[e]) | 0) <= 0) return true;
    this.release(e);
    return false;
  };

  /** Tells the hooks that this thread reads the TUN: without it they leave new connections to the stack. */
  #stayAwake(): void {
    writeTimeNs(this.#until, 0, this.clock.nowUs + AWAKE_US);
    bpf.update(this.fds.awake, this.#zero, 4, this.#untilBytes, AWAKE, 1);
  }
  readonly #zero = new Uint8Array(4);
  readonly #untilBytes = new Uint8Array(AWAKE);
  readonly #until = new DataView(this.#untilBytes.buffer);

  /** Runs ten times a second: reads the next part of the kernel's table; an empty table only every tenth time. */
  tick(): void {
    this.#stayAwake();
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

  /** Takes over all flows that a predecessor pinned; once, when the services and endpoints are known. */
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
      // A SYN that no machine answered and this process does not follow: a predecessor's, or one for which the flow
      // table was full. The client retransmits it, and then it is raced.
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
      // The predecessor counted what became of its first request.
      flows.marks[e] |= PINNED | REQUESTED | ANSWERED;
      this.events.adopted?.(e);
    }
    // A race that began meanwhile has removed the flow from the kernel, or is about to.
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
    if ((bits & fins) === fins) state = CLOSING;
    else if ((bits & SEEN_RST) !== 0) state = RESET_IN_KERNEL;
    else if (state === RESET_IN_KERNEL) state = ESTABLISHED;
    else if (state === OPENING && (bits & SEEN_CLIENT_ACK) !== 0)
      state = flows.isTcp(e) ? ESTABLISHED : DATAGRAMS;
    flows.state[e] = state;
    flows.expiresAt[e] = tickOf(this.clock.nowUs - idleUs(view, at, this.clock.nowUs)) + this.idle[state];
    if ((flows.marks[e] & ANSWERED) === 0) this.#judge(e, view, at, bits);
  }

  /** Tells what became of the client's first data. */
  #judge(e: FlowEntry, view: DataView, at: number, bits: number): void {
    const { marks, state } = this.#flows;
    const asked = wasAsked(view, at);
    if (asked && (marks[e] & REQUESTED) === 0) {
      marks[e] |= REQUESTED;
      this.events.requested?.(e);
    }
    if ((bits & SEEN_SERVER_DATA) !== 0) {
      marks[e] |= ANSWERED;
      // The time is not known when the client's first data went another way, or the server spoke first.
      const first = firstByteUs(view, at);
      if (first !== 0) this.events.firstByte?.(e, first - 1);
      return;
    }
    if ((marks[e] & FAILED) !== 0) return;
    const byServer = (bits & SEEN_SERVER_RST) !== 0;
    const hasEnded = (marks[e] & REQUESTED) !== 0 && isClosing(state[e]);
    const stands = asked && sinceAskedUs(view, at, this.clock.nowUs) >= STANDS_US;
    if (!byServer && !hasEnded && !stands) return;
    marks[e] |= FAILED;
    this.events.failed?.(e, byServer);
  }
}
