import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { countConnections, countListed, WaitMeter } from '../../../src/health/host-load.js';
import { waitUntil } from '../../../src/lab/process.js';

const open: { server: Server; sockets: Socket[] }[] = [];

afterEach(() => {
  for (const { server, sockets } of open.splice(0)) {
    for (const s of sockets) s.destroy();
    server.close();
  }
});

/** A server with `count` established connections. */
async function serving(host: string, count: number): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((s) => sockets.push(s.on('error', () => {})));
  open.push({ server, sockets });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  const clients = Array.from({ length: count }, () => connect({ port, host, autoSelectFamily: false }));
  sockets.push(...clients);
  expect(await waitUntil(() => sockets.length === 2 * count, 2000)).toBe(true);
  return { port, sockets };
}

describe.each([
  ['asked of the kernel', countConnections],
  ['read from its list', countListed],
])('connections, %s', (_, count) => {
  it('are counted on the given ports, IPv4 and IPv6', async () => {
    const [four, six] = [await serving('127.0.0.1', 3), await serving('::1', 2)];
    expect(count(new Set([four.port]))).toBe(3);
    expect(count(new Set([six.port]))).toBe(2);
    expect(count(new Set([four.port, six.port]))).toBe(5);
    expect(count(new Set([1]))).toBe(0);
    expect(count(new Set())).toBe(0);
  });

  it('are no longer counted after their end, although the kernel remembers them', async () => {
    const { port, sockets } = await serving('127.0.0.1', 4);
    for (const s of sockets) s.end();
    expect(await waitUntil(() => count(new Set([port])) === 0, 2000)).toBe(true);
  });
});

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
