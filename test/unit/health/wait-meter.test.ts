import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { WaitMeter } from '../../../src/health/wait-meter.js';
import { waitUntil } from '../../../src/lab/process.js';
import { open, serving } from '../../support/serving.js';

describe('the wait for an answer', () => {
  const meters: WaitMeter[] = [];
  const meter = (port: number): WaitMeter => {
    const m = new WaitMeter();
    meters.push(m);
    m.start(new Set([port]));
    return m;
  };
  afterEach(() => {
    for (const m of meters.splice(0)) m.stop();
  });

  const WAIT_MS = 250;
  const elapse = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  it('is the shortest of the last five, for a first answer and for later ones', async () => {
    const sockets: Socket[] = [];
    const server = createServer((s) => {
      sockets.push(s.on('error', () => {}));
      s.on('data', (bytes) => setTimeout(() => s.write('answer'), Number(bytes.toString())));
    });
    open.push({ server, sockets });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const m = meter(port);
    const client = connect({ port, host: '127.0.0.1' });
    sockets.push(client);
    // A client that has asked for nothing waits for nothing.
    await elapse(250);
    for (let n = 0; n < 5; n++) {
      expect(m.ms).toBe(0);
      client.write(String(WAIT_MS));
      await elapse(2 * WAIT_MS);
    }
    await elapse(150);
    expect(m.ms).toBeGreaterThan(WAIT_MS - 150);
    const known = m.ms;
    await elapse(350);
    expect(m.ms).toBe(known);
  });

  it('is that of clients that wait, where five do', async () => {
    const { port, sockets } = await serving('127.0.0.1', 5);
    const m = meter(port);
    await elapse(150);
    expect(m.ms).toBe(0);
    for (const s of sockets) if (s.remotePort === port) s.write('question');
    expect(await waitUntil(() => m.ms > 400, 5000)).toBe(true);
  });
});

describe('the time of an answer', () => {
  /** Requests one after another, each of `ms`, and `restMs` between them; `deep` clients wait at a time. */
  function answers(
    m: WaitMeter,
    count: number,
    ms: number,
    o: { restMs: number; deep: number; from: number },
  ): number {
    let now = o.from;
    const since = new Map<number, number>();
    let next = 0;
    for (let done = 0; done < count; done++) {
      while (since.size < o.deep) since.set(next++, now);
      for (const end = now + ms; now < end; ) {
        now += 50;
        m.take(new Map([...since].map(([socket, at]) => [socket, now - at])), now);
      }
      since.delete(Math.min(...since.keys()));
      if (o.restMs === 0) continue;
      now += o.restMs;
      m.take(new Map(), now);
    }
    return now;
  }

  it.each([
    ['one client at a time', { restMs: 500, deep: 1 }],
    ['a queue of six', { restMs: 0, deep: 6 }],
  ])('is the same with %s', (_, o) => {
    const m = new WaitMeter();
    answers(m, 7, 200, { ...o, from: 1000 });
    expect(m.serviceMs).toBe(0);
    answers(m, 20, 200, { ...o, from: 10_000 });
    expect(m.serviceMs).toBeGreaterThan(150);
    expect(m.serviceMs).toBeLessThan(250);
  });

  it('is that of the few recent ones where answers are rare', () => {
    const m = new WaitMeter();
    const slow = answers(m, 12, 800, { restMs: 100, deep: 1, from: 1000 });
    expect(m.serviceMs).toBeGreaterThan(700);
    answers(m, 1, 200, { restMs: 100, deep: 1, from: slow + 60_000 });
    expect(m.serviceMs).toBeGreaterThan(150);
    expect(m.serviceMs).toBeLessThan(250);
  });

  it('grows while an answer is late, and stays known while no client waits', () => {
    const m = new WaitMeter();
    const now = answers(m, 10, 200, { restMs: 100, deep: 1, from: 1000 });
    const before = m.serviceMs;
    for (let ms = 100; ms <= 4000; ms += 100) m.take(new Map([[99, ms]]), now + ms);
    expect(m.serviceMs).toBeGreaterThan(3 * before);
    m.take(new Map(), now + 4100);
    const known = m.serviceMs;
    m.take(new Map(), now + 60_000);
    expect(m.serviceMs).toBe(known);
  });
});
