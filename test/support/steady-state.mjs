/**
 * Puts the same packets again and again through one role's built pipeline (dist/), on the main thread or in a worker,
 * and prints markers around the measured part; `node --trace-gc` prints its collections between them. Started by
 * test/integration/allocation.test.ts with the path of a {@link Work} file.
 *
 * @typedef {{dist: string, module: string, options: object, snapshot: object, packets: number,
 *   learnedBytes?: number, batches: string[][], setup: string[][], allocate: boolean, worker: boolean}} Work
 */
import { readFileSync, writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const WARM_UP = 3;

/** JSON has typed arrays as lists of numbers; the snapshots contain such lists too, as the registry's records do. */
const work = isMainThread ? JSON.parse(readFileSync(process.argv[2], 'utf8')) : workerData;

if (isMainThread && work.worker) new Worker(new URL(import.meta.url), { workerData: work });
else await measure();

async function measure() {
  const load = (path) => import(`${work.dist}/${path}`);
  const { MonotonicClock } = await load('src/device/clock.js');
  const { HoldQueue } = await load('src/device/hold-queue.js');
  const { Batch, EXTRA_SLOT } = await load('src/pipeline/batch.js');
  const { Runner } = await load('src/pipeline/pipeline.js');
  const { MAX_GAUGES, MAX_REASONS } = await load('src/pipeline/reasons.js');
  const { gatewayMemory } = await load('gateway/race/gauges.js');
  const { createPipeline } = await load(work.module);

  const clock = new MonotonicClock();
  const counters = new Float64Array(new SharedArrayBuffer(MAX_REASONS * 8));
  const batch = new Batch(clock, counters);
  const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 4096 }]);
  const pipeline = createPipeline({
    options: work.options,
    clock,
    batch,
    hold,
    memory: Object.fromEntries(
      Object.entries({ ...gatewayMemory(64, 0), learned: work.learnedBytes ?? 0 }).map(([name, bytes]) => [
        name,
        new Float64Array(new SharedArrayBuffer(bytes)),
      ]),
    ),
    gauges: new Float64Array(new SharedArrayBuffer(MAX_GAUGES * 8)),
  });
  pipeline.load(work.snapshot);
  pipeline.tick();

  const bytes = (list) => list.map((text) => Uint8Array.from(Buffer.from(text, 'base64')));
  let frames = [];
  let next = 0;
  let left = 0;
  let written = 0;
  const device = {
    name: 'steady',
    readBatch(arena, at, lengths, limit) {
      const n = Math.min(limit, left);
      for (let i = 0; i < n; i++) {
        const frame = frames[next];
        next = next + 1 === frames.length ? 0 : next + 1;
        // A loop, because `set` is quicker only for long frames, and these are short.
        for (let b = 0; b < frame.length; b++) arena[at[i] - 10 + b] = frame[b];
        lengths[i] = frame.length - 10;
        if (work.allocate) globalThis.kept = { i };
      }
      left -= n;
      return n;
    },
    writeBatch(_arena, _at, _lengths, count) {
      written += count;
      return count;
    },
    onReadable() {},
    release() {},
  };
  const runner = new Runner(device, batch, hold, pipeline.stages, clock, pipeline.due);
  const send = (list, packets) => {
    frames = list;
    next = 0;
    left = packets;
    while (left > 0) {
      runner.run();
      runner.release();
    }
  };
  for (const list of work.setup) send(bytes(list), list.length);
  const steady = bytes(work.steady);
  for (let n = 0; n < WARM_UP; n++) {
    send(steady, work.packets);
    pipeline.tick();
  }
  counters.fill(0);
  written = 0;
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  writeSync(1, 'BEGIN\n');
  send(steady, work.packets);
  const allocated = process.memoryUsage().heapUsed - before;
  writeSync(1, 'END\n');
  const counted = pipeline.reasons.map((name, i) => [name, counters[i]]).filter(([, n]) => n > 0);
  writeSync(1, `${JSON.stringify({ allocated, written, counts: Object.fromEntries(counted) })}\n`);
}
