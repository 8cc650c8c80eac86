/** Servers on this host's loopback with connections to them, which end with each test. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect } from 'vitest';
import { waitUntil } from '../../src/lab/process.js';

/** What a test has opened; it may add its own. */
export const open: { server: Server; sockets: Socket[] }[] = [];

afterEach(() => {
  for (const { server, sockets } of open.splice(0)) {
    for (const s of sockets) s.destroy();
    server.close();
  }
});

/** A server with `count` established connections. */
export async function serving(host: string, count: number): Promise<{ port: number; sockets: Socket[] }> {
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
