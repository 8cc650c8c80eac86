// Tests the generator against real servers in this process. No test asserts a speed; tests only assert bounds that
// follow from a stall of known length.
import { createHash } from 'node:crypto';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/load/attempt.js';
import { generate, type Plan } from '../../../src/load/generate.js';
import { dueTimes } from '../../../src/load/profile.js';
import type { Recording } from '../../../src/load/recording.js';
import { type Report, reportOf } from '../../../src/load/report.js';

const open: (Server | TcpServer)[] = [];
const timers: NodeJS.Timeout[] = [];
afterEach(() => {
  for (const timer of timers.splice(0)) clearInterval(timer);
  for (const server of open.splice(0)) {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  }
});

async function listening(server: Server | TcpServer): Promise<number> {
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
const serving = (listener: RequestListener): Promise<number> => listening(createServer(listener));

/** Looks at the recording while the test runs. */
const every =
  (look: (recording: Recording) => void) =>
  (recording: Recording): void => {
    timers.push(setInterval(look, 20, recording));
  };

const BODY = 'the right body\n';
const HASH = createHash('sha256').update(BODY).digest('hex');

function targetOf(port: number, more: Partial<Target> = {}): Target {
  return {
    address: '127.0.0.1',
    port,
    host: 'load.test',
    path: '/a?b',
    servedByHeader: 'x-served-by',
    sha256: new Set(),
    timeoutMs: 20_000,
    ...more,
  };
}

async function run(
  target: Target,
  more: Partial<Plan> & { rate?: number; lastsS?: number; watch?: (recording: Recording) => void } = {},
): Promise<Report> {
  const { rate = 50, lastsS = 0.4, watch, ...plan } = more;
  const stages = [{ fromPerS: rate, toPerS: rate, lastsS }];
  const setting = {
    url: 'http://load.test/',
    arrivals: 'uniform',
    seed: 1,
    stages,
    verified: false,
  } as const;
  const mode = plan.mode ?? 'http';
  const dueMs = dueTimes(stages, 'uniform', 1);
  const report = reportOf(
    { ...setting, mode, durationS: lastsS },
    await generate({ mode, target, dueMs, maxOpen: 1000, ...plan }, watch),
  );
  expect(report.started + report.missed + report.unsent).toBe(report.scheduled);
  expect(report.ok + report.failed).toBe(report.started);
  const answered = Object.values(report.replicas).reduce((sum, r) => sum + r.ok + r.failed, 0);
  expect(answered + report.noResponse).toBe(report.started);
  expect(Object.values(report.errors).reduce((a, b) => a + b, 0)).toBe(report.failed);
  return report;
}

describe('the open loop', () => {
  it('opens a connection per arrival, and requests the path with the Host header', async () => {
    const ports = new Set<number | undefined>();
    const asked = new Set<string>();
    const port = await serving((request, response) => {
      ports.add(request.socket.remotePort);
      asked.add(`${request.method} ${request.url} ${request.headers.host} ${request.headers.connection}`);
      response.setHeader('X-Served-By', ports.size % 2 === 0 ? 'even' : 'odd').end(BODY);
    });
    const report = await run(targetOf(port, { sha256: new Set([HASH]) }));
    expect(report).toMatchObject({ scheduled: 20, ok: 20, failed: 0, missed: 0, errors: {} });
    expect(ports.size).toBe(20);
    expect([...asked]).toEqual(['GET /a?b load.test close']);
    expect(Object.entries(report.replicas).map(([name, r]) => [name, r.ok])).toEqual([
      ['even', 10],
      ['odd', 10],
    ]);
    expect(report.bodyBytes).toBe(20 * BODY.length);
  });

  it('continues to send while the server stalls, and counts the stall into every latency', async () => {
    // The first request stops the server for a second; all requests are due within 0.4 s. A closed loop with one
    // connection would count one slow request and nineteen fast ones.
    const STALL_MS = 1000;
    let until = 0;
    const seen: number[] = [];
    const port = await serving((_, response) => {
      const now = performance.now();
      seen.push(now);
      if (until === 0) until = now + STALL_MS;
      setTimeout(() => response.end(BODY), Math.max(0, until - now));
    });
    const report = await run(targetOf(port));
    expect(report).toMatchObject({ started: 20, ok: 20 });
    // The last request is due 380 ms after the first. A timer may fire a millisecond early.
    expect(report.latencyMs.total!.p50).toBeGreaterThan(STALL_MS - 200 - 5);
    expect(report.latencyMs.total!.max).toBeGreaterThan(STALL_MS - 5);
    expect(seen).toHaveLength(20);
  });

  it('counts its own lateness in the latencies, and reports it', async () => {
    const port = await serving((_, response) => response.end(BODY));
    const BLOCK_MS = 300;
    const block = () => {
      const end = performance.now() + BLOCK_MS;
      while (performance.now() < end);
    };
    const dueMs = Float64Array.of(10, 20, 30);
    const setting = {
      url: '',
      mode: 'http',
      arrivals: 'uniform',
      seed: 1,
      stages: [],
      verified: false,
    } as const;
    const recording = await generate({ mode: 'http', target: targetOf(port), dueMs, maxOpen: 9 }, () =>
      setImmediate(block),
    );
    const report = reportOf({ ...setting, durationS: 1 }, recording);
    expect(report.ok).toBe(3);
    expect(report.generator.late).toBe(true);
    // The run begins 20 ms before; the last request is due 50 ms after that.
    expect(report.generator.lagMs!.p50).toBeGreaterThan(BLOCK_MS - 60);
    expect(report.latencyMs.total!.p50).toBeGreaterThan(BLOCK_MS - 60);
  });

  it('misses arrivals while too many connections are open, and does not send them later', async () => {
    const held: ServerResponse[] = [];
    const port = await serving((_, response) => held.push(response));
    const answerAll = (recording: Recording) => {
      if (recording.counts.missed === 17) for (const response of held) response.end(BODY);
    };
    const report = await run(targetOf(port), { maxOpen: 3, watch: every(answerAll) });
    expect(report).toMatchObject({ scheduled: 20, started: 3, ok: 3, missed: 17, failed: 0 });
    expect(held).toHaveLength(3);
    expect(report.timeline.map((s) => s.missed)).toEqual([17]);
  });

  it('stops on request, and waits for open connections', async () => {
    const held: ServerResponse[] = [];
    const port = await serving((_, response) => held.push(response));
    const stop = new AbortController();
    const dueMs = Float64Array.of(1, 2, 60_000);
    const stopThenAnswer = () => {
      if (held.length < 2) return;
      if (stop.signal.aborted) for (const response of held) response.end(BODY);
      stop.abort();
    };
    const plan = { mode: 'http', target: targetOf(port), dueMs, maxOpen: 9 } as const;
    const recording = await generate(plan, every(stopThenAnswer), stop.signal);
    expect(recording.counts).toEqual({ started: 2, ok: 2, failed: 0, missed: 0, open: 0 });
    expect(recording.outcome(2)).toBe('unsent');
  });
});

describe('failures', () => {
  it.each([
    ['another body', 'the wrong body\n'],
    ['a body of the same length', BODY.replace('right', 'night')],
    ['no body', ''],
  ])('%s is a hash mismatch', async (_, body) => {
    let n = 0;
    const port = await serving((_, response) => response.end(n++ === 1 ? body : BODY));
    const report = await run(targetOf(port, { sha256: new Set([HASH]) }), { lastsS: 0.1 });
    expect(report).toMatchObject({ ok: 4, failed: 1, errors: { 'hash-mismatch': 1 } });
    expect(report.replicas).toMatchObject({ unknown: { ok: 4, failed: 1 } });
  });

  it.each([503, 404, 301])('status %i is an error of that name, whatever the body', async (status) => {
    const port = await serving((_, response) =>
      response.writeHead(status, { 'x-served-by': 'r9' }).end(BODY),
    );
    const report = await run(targetOf(port, { sha256: new Set([HASH]) }), { lastsS: 0.1 });
    expect(report).toMatchObject({ ok: 0, failed: 5, errors: { [`status-${status}`]: 5 }, noResponse: 0 });
    expect(report.replicas).toMatchObject({ r9: { failed: 5 } });
    expect(report.latencyMs.total).toBeNull();
  });

  it('a port without a listener is ECONNREFUSED, in both modes', async () => {
    const server = createTcpServer();
    const port = await listening(server);
    await new Promise((resolve) => server.close(resolve));
    for (const mode of ['http', 'connect'] as const) {
      const report = await run(targetOf(port), { mode, lastsS: 0.1 });
      expect(report).toMatchObject({ failed: 5, errors: { ECONNREFUSED: 5 }, noResponse: 5, replicas: {} });
    }
  });

  it('a reset is ECONNRESET', async () => {
    const port = await listening(
      createTcpServer((socket) => socket.once('data', () => socket.resetAndDestroy())),
    );
    const report = await run(targetOf(port), { lastsS: 0.1 });
    expect(report).toMatchObject({ failed: 5, errors: { ECONNRESET: 5 }, noResponse: 5 });
    expect(report.latencyMs.connect).not.toBeNull();
  });

  it('a truncated body is ECONNRESET, not a mismatch', async () => {
    const port = await serving((_, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write(BODY);
      setTimeout(() => response.destroy(), 20);
    });
    const report = await run(targetOf(port, { sha256: new Set([HASH]) }), { lastsS: 0.1 });
    expect(report).toMatchObject({ failed: 5, errors: { ECONNRESET: 5 }, noResponse: 0 });
  });

  it('no answer is a timeout', async () => {
    const port = await listening(createTcpServer(() => {}));
    const report = await run(targetOf(port, { timeoutMs: 100 }), { lastsS: 0.1 });
    expect(report).toMatchObject({ failed: 5, errors: { timeout: 5 }, noResponse: 5 });
  });

  it("an answer that is not HTTP has the parser's error code", async () => {
    const port = await listening(createTcpServer((socket) => socket.on('error', () => {}).end('hello\r\n')));
    const report = await run(targetOf(port), { lastsS: 0.1 });
    expect(report.failed).toBe(5);
    expect(Object.keys(report.errors)[0]).toMatch(/^HPE_/);
  });
});

it('connect mode opens and closes, and sends nothing', async () => {
  const received: Buffer[] = [];
  const server = createTcpServer((socket) =>
    socket.on('error', () => {}).on('data', (d) => received.push(d)),
  );
  const report = await run(targetOf(await listening(server)), { mode: 'connect' });
  expect(report).toMatchObject({ started: 20, ok: 20, failed: 0, replicas: { unknown: { ok: 20 } } });
  expect(report.latencyMs.connect).not.toBeNull();
  expect(report.latencyMs.firstByte).toBeNull();
  expect(received).toEqual([]);
});
