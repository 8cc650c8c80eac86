/**
 * The soak's clients, in the network namespace in which this process is started: one plan as JSON on stdin; on stdout
 * one line of JSON per second and per failed connection. Ends with the load. See `soak-client.ts`.
 */
import { text } from 'node:stream/consumers';
import type { Attempt, Target } from '../../load/attempt.js';
import { generate } from '../../load/generate.js';
import { generator } from '../../load/generator.js';
import { dueTimes } from '../../load/profile.js';
import { percentiles } from '../../load/report.js';
import type { ClientLine, ClientPlan } from './soak-client.js';

const plan = JSON.parse(await text(process.stdin)) as ClientPlan;
/** Offset from this process's clock to the clock that all processes share. */
const offsetMs = clockOffsetMs();

/**
 * The smallest of many measurements, because on a busy machine another process may run for milliseconds between two
 * calls.
 */
function clockOffsetMs(): number {
  const looks = Array.from({ length: 100 }, () => {
    const before = performance.now();
    const shared = Number(process.hrtime.bigint()) / 1e6;
    const after = performance.now();
    return { tookMs: after - before, offsetMs: shared - (before + after) / 2 };
  });
  return looks.reduce((best, look) => (look.tookMs < best.tookMs ? look : best)).offsetMs;
}

const tell = (line: ClientLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

const stages = [{ fromPerS: plan.rate, toPerS: plan.rate, lastsS: plan.seconds }];
const dueMs = dueTimes(stages, 'poisson', plan.seed);
const random = generator(plan.seed + 1);
/** The target of each arrival, drawn before the first arrival is due. */
const choices = Uint8Array.from(dueMs, () => {
  const service = Math.floor(random() * plan.services.length);
  return service * 2 + (random() < plan.largeShare ? 1 : 0);
});
const targets = plan.services.flatMap((s) =>
  [plan.small, plan.large].map(
    (file): Target => ({
      address: s.address,
      port: s.port,
      host: `${s.address}:${s.port}`,
      path: file.path,
      servedByHeader: 'x-served-by',
      sha256: new Set([file.sha256]),
      timeoutMs: plan.timeoutMs,
    }),
  ),
);

/**
 * Uses local ports in turn instead of the system's choice, so that the port of a connection that is never established
 * is known too. A port is used again after TIME-WAIT (60 s), and before a gateway has forgotten the port's former
 * connection (240 s).
 */
const FIRST_PORT = 10_000;
const ports = Math.ceil(plan.rate * 100);
const targetOf = (i: number): Target => ({ ...targets[choices[i]], localPort: FIRST_PORT + (i % ports) });

let servedBy: Record<string, number> = {};
const maybe = (n: number): number | null => (Number.isNaN(n) ? null : n);

function ended(i: number, a: Attempt): void {
  const choice = choices[i];
  if (a.error === '') {
    servedBy[a.servedBy] = (servedBy[a.servedBy] ?? 0) + 1;
    return;
  }
  const { name: service, configuration } = plan.services[choice >> 1];
  tell({
    unwell: {
      service,
      configuration,
      path: targets[choice].path,
      startedAt: a.startedAt + offsetMs,
      connectedAt: maybe(a.connectedAt + offsetMs),
      endedAt: a.endedAt + offsetMs,
      error: a.error,
      servedBy: a.servedBy,
      bodyBytes: a.bodyBytes,
      localPort: maybe(a.localPort),
      winner: null,
    },
  });
}

let timer: NodeJS.Timeout | undefined;
const recording = await generate(
  {
    mode: 'http',
    target: targets[0],
    targetOf,
    ended,
    dueMs,
    maxOpen: plan.maxOpen,
  },
  ({ counts }) => {
    tell({ begunAt: performance.now() + offsetMs, scheduled: dueMs.length });
    timer = setInterval(() => {
      tell({ second: { atMs: performance.now() + offsetMs, servedBy, counts: { ...counts } } });
      servedBy = {};
    }, 1000);
  },
);
clearInterval(timer);
const { counts, connectMs, totalMs, lagMs, bodyBytes } = recording;
tell({ second: { atMs: performance.now() + offsetMs, servedBy, counts: { ...counts } } });
const slowConnects = connectMs.filter((ms, i) => ms - lagMs[i] > 900).length;
tell({
  end: {
    counts,
    bodyBytes,
    slowConnects,
    connect: percentiles(connectMs),
    total: percentiles(totalMs),
    lag: percentiles(lagMs),
  },
});
