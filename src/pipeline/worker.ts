/**
 * The data plane's thread: owns the TUN, the flow table and the hold queue, and does nothing else. The control plane
 * sends it messages and reads its counters from shared memory.
 */
import { readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { MonotonicClock, PreciseTimer } from '../device/clock.js';
import type { Device } from '../device/device.js';
import { FaultDevice } from '../device/fault.js';
import { HoldQueue } from '../device/hold-queue.js';
import { PcapDevice } from '../device/pcap.js';
import { Tun } from '../device/tun.js';
import { Batch, EXTRA_SLOT } from './batch.js';
import { type FromWorker, type ToWorker, type WorkerStart, wordsOf } from './messages.js';
import { type PipelineModule, Runner } from './pipeline.js';

/** How often expiry and gauges run, in milliseconds. */
const TICK_MS = 100;
const POLL_MS = 5;
/** How much nicer the control plane's threads are than this one. */
const NICENESS = 10;

const start = workerData as WorkerStart;
const port = parentPort!;
const send = (message: FromWorker): void => port.postMessage(message);

hasten();
const clock = new MonotonicClock();
const batch = new Batch(clock, new Float64Array(start.counters));
const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: start.holdSlots }]);
const { createPipeline, rehearse } = (await import(start.module)) as PipelineModule;
rehearse?.(createPipeline, start.options);
const pipeline = createPipeline({
  options: start.options,
  clock,
  batch,
  hold,
  memory: wordsOf(start.memory),
  gauges: new Float64Array(start.gauges),
  kernel: start.kernel,
});

const tun = new Tun(start.tun.name, { offload: true });
tun.queueLength = start.tun.queueLength;

const damaged: Device = start.tun.fault === undefined ? tun : new FaultDevice(tun, start.tun.fault);
const device = start.tun.pcapFile === undefined ? damaged : new PcapDevice(damaged, start.tun.pcapFile);
const runner = new Runner(device, batch, hold, pipeline.stages, clock, pipeline.due);

const slackUs = pipeline.due?.slackUs ?? 0;
let armed = 0;
const arm = (due: number): void => {
  const at = slackUs === 0 ? due : Math.ceil(due / slackUs) * slackUs;
  if (at === armed) return;
  armed = at;
  timer.arm(at);
};
const timer = new PreciseTimer(() => {
  armed = 0;
  arm(runner.release());
});

device.onReadable(() => {
  if (runner.run() < 0) {
    stop();
    send({ type: 'gone' });
    return;
  }
  if (hold.size > 0) arm(hold.nextDueUs);
});

const beats = new Float64Array(start.beats);
const ticking = setInterval(() => {
  beats[0] += 1;
  clock.update();
  pipeline.tick();
}, TICK_MS);

const polling =
  pipeline.poll === undefined
    ? undefined
    : setInterval(() => {
        clock.update();
        pipeline.poll!();
        if (hold.size > 0) arm(hold.nextDueUs);
      }, POLL_MS);

/**
 * Lets this thread run before the process's others: no packet waits for an answer to an operator, or for the registry.
 * On Linux niceness belongs to a thread. It needs CAP_SYS_NICE or RLIMIT_NICE; without them nothing changes.
 */
function hasten(): void {
  const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  try {
    setPriority(thread, Math.max(-20, getPriority(thread) - NICENESS));
  } catch {
    // Without the right the threads are equal, as they are everywhere else.
  }
}

function stop(): void {
  clearInterval(ticking);
  clearInterval(polling);
  timer.release();
  device.release();
}

port.on('message', (message: ToWorker) => {
  if (message.type === 'load') {
    if (tun.mtu !== message.mtu) tun.mtu = message.mtu;
    pipeline.load(message.snapshot);
    send({ type: 'loaded' });
  } else if (message.type === 'pinning') {
    pipeline.allowPinning?.(message.allowed);
  } else if (message.type === 'ask') {
    send({ type: 'answer', id: message.id, answer: pipeline.ask?.(message.question) });
  } else {
    stop();
    port.close();
  }
});
send({ type: 'ready', reasons: pipeline.reasons, gauges: pipeline.gauges });
