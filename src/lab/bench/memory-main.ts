/**
 * The gateway's stages over a device in memory, with a table of a million established flows: packets a second of one
 * flow, and of all flows in turn. A separate process, as the data plane has a thread of its own, because other code
 * in a process influences how its compiler optimises the stages. Prints one JSON object.
 *
 *   node memory-main.js ROUNDS MEASURE_MS
 */
import { MonotonicClock } from '../../device/clock.js';
import { type Device, VNET_HEADER } from '../../device/device.js';
import { HoldQueue } from '../../device/hold-queue.js';
import { Batch, EXTRA_SLOT } from '../../pipeline/batch.js';
import { type PipelineModule, Runner } from '../../pipeline/pipeline.js';
import { MAX_GAUGES, MAX_REASONS } from '../../pipeline/reasons.js';
import { replicaKind, serviceRecordOf } from '../../race/records.js';
import { type RecordKind, View } from '../../registry/kinds.js';
import { serviceKind } from '../../registry/service.js';

const FLOWS = 1_000_000;
const MAX_FLOWS = 1_048_576;
const PORTION = 20_000;
/** The same number as in `blast.c`. */
const PORTS = 50_000;
const STRIDE = 611_953;
const LENGTH = 40;
const SERVICE = '203.0.113.10';
const REPLICA = '198.18.11.2';
const PORT = 80;
const ISN = 1;
const [SYN, ACK] = [2, 16];
/** Packets between two readings of the clock. */
const CHUNK = 20_000;

const word = (address: string): number =>
  address.split('.').reduce((sum, part) => (sum << 8) | Number(part) | 0, 0);
const FIRST_CLIENT = word('192.0.2.10');

const service = serviceRecordOf({
  ...{ name: 'web', address: SERVICE, ports: [PORT], configuration: 'A' },
  ...{ replicable: true, raceWindowMs: 500 },
});
const replica = {
  ...{ v: 1, id: 'r1', address: REPLICA, services: [{ name: 'web', port: PORT }], state: 'up', reason: '' },
  ...{ connections: 0, load: 0, clock: 'free' },
};
const view = View.of([serviceKind as RecordKind, [service]], [replicaKind as RecordKind, [replica]]);

/** Makes its packets from a template when they are read, and discards packets that are written. */
class Source implements Device {
  readonly name = 'source';
  readonly #model = new Uint8Array(VNET_HEADER + LENGTH);
  readonly #view = new DataView(this.#model.buffer);
  #fromServer = false;
  #flow = 0;
  #step = 0;
  #left = 0;
  written = 0;

  aim(fromServer: boolean, flags: number, seq: number, ack: number): void {
    const ip = VNET_HEADER;
    this.#fromServer = fromServer;
    this.#model.fill(0);
    this.#view.setUint16(ip, 0x4500);
    this.#view.setUint16(ip + 2, LENGTH);
    this.#view.setUint16(ip + 6, 0x4000);
    this.#view.setUint16(ip + 8, 0x4006);
    this.#view.setInt32(ip + (fromServer ? 12 : 16), word(fromServer ? REPLICA : SERVICE));
    this.#view.setUint16(ip + (fromServer ? 20 : 22), PORT);
    this.#view.setInt32(ip + 24, seq);
    this.#view.setInt32(ip + 28, ack);
    this.#view.setUint16(ip + 32, 0x5000 | flags);
    this.#view.setUint16(ip + 34, 0xffff);
  }

  /** The flow of the next packet. */
  startAt(flow: number): void {
    this.#flow = flow;
  }

  /** Supplies `packets` packets from now on, each `step` flows after the one before. */
  fill(packets: number, step: number): void {
    this.#left = packets;
    this.#step = step;
  }

  readBatch(arena: Uint8Array, at: Int32Array, lengths: Int32Array, limit: number): number {
    const n = Math.min(limit, this.#left);
    const [address, port] = this.#fromServer ? [26, 32] : [22, 30];
    for (let i = 0; i < n; i++) {
      this.#view.setInt32(address, FIRST_CLIENT + Math.floor(this.#flow / PORTS));
      this.#view.setUint16(port, 10_000 + (this.#flow % PORTS));
      this.#flow = (this.#flow + this.#step) % FLOWS;
      arena.set(this.#model, at[i] - VNET_HEADER);
      lengths[i] = LENGTH;
    }
    this.#left -= n;
    return n;
  }

  writeBatch(_arena: Uint8Array, _at: Int32Array, _lengths: Int32Array, count: number): number {
    this.written += count;
    return count;
  }
  onReadable(): void {}
  release(): void {}

  get isEmpty(): boolean {
    return this.#left === 0;
  }
}

const load = (path: string): Promise<unknown> =>
  import(new URL(`../../../gateway/race/${path}`, import.meta.url).href);
const { gatewayMemory } = (await load('gauges.js')) as {
  gatewayMemory(races: number, learned: number): Record<string, number>;
};
const { createPipeline } = (await load('pipeline.js')) as PipelineModule;
const { Fleet } = (await load('fleet.js')) as {
  Fleet: new (race: string) => { update(view: View, configuration: string): void };
};
const { snapshotOf } = (await load('fleet-orders.js')) as {
  snapshotOf(fleet: object, mtu: number, mss: number): unknown;
};

const shared = (bytes: number): Float64Array => new Float64Array(new SharedArrayBuffer(bytes));
const clock = new MonotonicClock();
const counters = shared(MAX_REASONS * 8);
const batch = new Batch(clock, counters);
const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 1 }]);
const memory = Object.fromEntries(
  Object.entries(gatewayMemory(64, 0)).map(([name, bytes]) => [name, shared(bytes)]),
);
const timeouts = { openingTimeoutMs: 3_600_000, establishedTimeoutMs: 7_440_000, closingTimeoutMs: 240_000 };
const pipeline = createPipeline({
  options: {
    flows: { max: MAX_FLOWS, ...timeouts },
    raceWidth: 6,
    gatewayId: 1,
    keyId: 0,
    key: [1, 2, 3, 4],
  },
  ...{ clock, batch, hold, memory, gauges: shared(MAX_GAUGES * 8) },
});
const fleet = new Fleet('gateway');
fleet.update(view, 'A');
pipeline.load(snapshotOf(fleet, 1500, 1440));
pipeline.tick();
const source = new Source();
const runner = new Runner(source, batch, hold, pipeline.stages, clock, pipeline.due);

function send(packets: number, step: number): void {
  source.fill(packets, step);
  while (!source.isEmpty) runner.run();
}

// As clients do: each portion is confirmed before the next one begins.
for (let first = 0; first < FLOWS; first += PORTION) {
  const portion = (fromServer: boolean, flags: number, seq: number, ack: number): void => {
    source.aim(fromServer, flags, seq, ack);
    source.startAt(first);
    send(PORTION, 1);
  };
  portion(false, SYN, ISN, 0);
  portion(true, SYN | ACK, 7, ISN + 1);
  portion(false, ACK, ISN + 1, 8);
}
source.startAt(0);
const carried = pipeline.reasons.indexOf('pass.to-replica');
if (counters[carried] !== FLOWS) throw new Error(`${counters[carried]} of ${FLOWS} flows are carried`);

/** Packets a second. */
function measure(step: number, ms: number): number {
  const began = performance.now();
  let packets = 0;
  while (performance.now() - began < ms) {
    send(CHUNK, step);
    packets += CHUNK;
  }
  return (packets / (performance.now() - began)) * 1000;
}

const [rounds, ms] = process.argv.slice(2).map(Number);
measure(STRIDE, ms);
const out: { one: number[]; million: number[] } = { one: [], million: [] };
for (let round = 0; round < rounds; round++) {
  // The order of the two changes from round to round.
  if (round % 2 === 0) out.one.push(measure(0, ms));
  out.million.push(measure(STRIDE, ms));
  if (round % 2 === 1) out.one.push(measure(0, ms));
}
process.stdout.write(`${JSON.stringify(out)}\n`);
