/**
 * Before its TUN exists, a program runs its stages once over packets that it makes itself, which no machine receives.
 * V8 compiles code when it is first needed: measured, the first 200 simultaneous connections after a start were
 * delayed by this for 10 to 40 ms at each machine, and lost their races.
 */
import { MonotonicClock } from '../device/clock.js';
import { type Device, VNET_HEADER } from '../device/device.js';
import { HoldQueue } from '../device/hold-queue.js';
import { wallMs } from '../device/wall-clock.js';
import type { At } from '../flow/numbers.js';
import { fold, pseudoHeader, sum } from '../wire/checksum.js';
import * as ipip from '../wire/ipip.js';
import * as ipv4 from '../wire/ipv4.js';
import type { SipKey } from '../wire/siphash.js';
import * as tag from '../wire/tag.js';
import * as tcp from '../wire/tcp.js';
import { Batch, EXTRA_SLOT } from './batch.js';
import { type CreatePipeline, type Pipeline, Runner } from './pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from './reasons.js';

/** Flows of one rehearsal: enough for V8 to optimise what a packet passes, in less than 0.1 s. */
export const REHEARSED = 400;

/** Addresses for documentation (RFC 5737). No packet leaves the process. */
export const CLIENT = 0xc0000202 | 0;
export const SERVICE = 0xcb00710a | 0;
export const REPLICA = 0xc633640b | 0;
export const PORT = 80;
const TTL = 61;
/** An MSS option, three NOPs and an EOL, so that the SYN has options that a tag can follow. */
const SYN_OPTIONS = Uint8Array.of(2, 4, 5, 0xb4, 1, 1, 1, 0);

const nowhere: Device = {
  name: 'rehearsal',
  readBatch: () => 0,
  writeBatch: (_arena, _at, _lengths, count) => count,
  onReadable: () => {},
  release: () => {},
};

export class Rehearsal<Options, Snapshot> {
  readonly batch: Batch;
  readonly pipeline: Pipeline<Snapshot>;
  readonly #runner: Runner;
  #count = 0;

  /** @param memory bytes of shared memory by name; less than the running program uses */
  constructor(
    create: CreatePipeline<Options, Snapshot>,
    options: Options,
    memory: Readonly<Record<string, number>> = {},
  ) {
    const clock = new MonotonicClock();
    const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 4 * REHEARSED }]);
    this.batch = new Batch(clock, new Float64Array(MAX_REASONS));
    this.pipeline = create({
      options,
      clock,
      batch: this.batch,
      hold,
      memory: Object.fromEntries(
        Object.entries(memory).map(([name, bytes]) => [name, new Float64Array(bytes / 8)]),
      ),
      gauges: new Float64Array(MAX_GAUGES),
    });
    const { stages, due } = this.pipeline;
    this.#runner = new Runner(nowhere, this.batch, hold, stages, clock, due);
  }

  /** Adds a TCP segment to the batch. @returns its index in the batch */
  segment(
    from: number,
    sport: number,
    to: number,
    dport: number,
    seq: number,
    ack: number,
    flags: number,
  ): number {
    const { batch } = this;
    if (this.#count === 0) batch.reset();
    const i = this.#count++;
    const at = batch.at[i];
    const l4 = at + ipv4.MIN_HEADER;
    const options = (flags & tcp.SYN) !== 0 ? SYN_OPTIONS.length : 0;
    const length = tcp.MIN_HEADER + options;
    batch.arena.fill(0, at - VNET_HEADER, at);
    ipv4.write(batch.view, at, 0, ipv4.MIN_HEADER + length, 0, true, TTL, ipv4.PROTO_TCP, from, to);
    tcp.write(batch.view, l4, sport, dport, seq, ack, flags);
    if (options > 0) {
      batch.arena.set(SYN_OPTIONS, l4 + tcp.MIN_HEADER);
      batch.view.setUint8(l4 + 12, (length >>> 2) << 4);
    }
    const pseudo = pseudoHeader(from, to, ipv4.PROTO_TCP, length);
    tcp.setCheck(batch.view, l4, ~fold(sum(batch.view, l4, length, pseudo)) & 0xffff);
    batch.length[i] = ipv4.MIN_HEADER + length;
    return i;
  }

  /** Puts a tag on SYN `i`, as a gateway would. */
  tag(i: number, key: SipKey, keyId: number, gatewayId: number): void {
    const { batch } = this;
    const at = batch.at[i];
    const l4 = at + ipv4.MIN_HEADER;
    const end = l4 + tcp.MIN_HEADER + SYN_OPTIONS.length - 1;
    const epoch = tag.epochOf(wallMs() / 1000);
    batch.at[i] = tag.insert(batch.view, batch.arena, at, l4, end, key, keyId, epoch, gatewayId) as At;
    batch.length[i] += tag.LENGTH;
  }

  /** Puts packet `i` into a tunnel. */
  tunnel(i: number, from: number, to: number): void {
    const { batch } = this;
    batch.at[i] = ipip.encapsulate(batch.view, batch.at[i], from, to, 0) as At;
    batch.length[i] += ipip.OVERHEAD;
  }

  /** Takes the packets that were added since the last call through the stages. */
  run(): void {
    const n = this.#count;
    this.#count = 0;
    this.#runner.clock.update();
    this.#runner.process(n);
    this.#runner.release();
  }
}
