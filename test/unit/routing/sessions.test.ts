// Sessions between members, through a relay whose delay is known.
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Events } from '../../../src/events/events.js';
import { waitUntil } from '../../../src/lab/process.js';
import { makeAuthority, makeCertificate } from '../../../src/lab/routed/certificates.js';
import { HelloClient } from '../../../src/routing/hello-client.js';
import { HelloServer } from '../../../src/routing/hello-server.js';
import { secureOptions } from '../../../src/routing/session.js';

const ONE_WAY_MS = 20;
const INTERVAL_MS = 100;
const directory = mkdtempSync('/tmp/firstack-sessions-');
const events = new Events('test', pino({ level: 'silent' }), null);
const secure = (name: string): ReturnType<typeof secureOptions> =>
  secureOptions({
    caFile: `${directory}/ca.pem`,
    certFile: `${directory}/${name}.pem`,
    keyFile: `${directory}/${name}.key`,
  });
let relay: Server;
let server: HelloServer;
let client: HelloClient;

beforeAll(async () => {
  await makeAuthority(directory);
  for (const [name, level] of [
    ['n1', 'network'],
    ['s1', 'server'],
  ])
    await makeCertificate(directory, name, {
      uri: `firstack:routing?id=${name}&level=${level}&subnet=203.0.113.80/32&target=198.18.0.1/32`,
    });
  server = new HelloServer({
    ...{ host: '127.0.0.1', port: 0, level: 'network', intervalMs: INTERVAL_MS, events },
    welcome: () => ({
      ...{ type: 'welcome', v: 1, id: 'n1', level: 'network', address: '198.18.0.1' },
      ...{ intervalMs: INTERVAL_MS, sources: [] },
    }),
    onChange: () => {},
  });
  await server.start(secure('n1'));
  const { port } = server.address as AddressInfo;
  relay = createServer((from) => {
    const to = connect(port, '127.0.0.1');
    for (const [a, b] of [
      [from, to],
      [to, from],
    ]) {
      a.on('data', (bytes) => setTimeout(() => b.write(bytes), ONE_WAY_MS));
      a.on('error', () => {}).once('close', () => b.destroy());
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  client = new HelloClient({
    uppers: [`127.0.0.1:${(relay.address() as AddressInfo).port}`],
    ...{ id: 's1', level: 'server', address: '198.18.0.1', events },
    state: () => [{ subnet: '203.0.113.80/32', load: 0, available: true, servers: 1 }],
    onChange: () => {},
  });
  client.start(secure('s1'));
});
afterAll(async () => {
  client.stop();
  await server.stop();
  relay.close();
  rmSync(directory, { recursive: true });
});

it('tell the upper end how long their round trip is', async () => {
  const rtt = (): number => server.members.get('s1')?.rttMs ?? 0;
  expect(await waitUntil(() => rtt() > 0, 10_000)).toBe(true);
  // The least of some: what a busy machine adds to single ones is left out.
  await new Promise((resolve) => setTimeout(resolve, 10 * INTERVAL_MS));
  expect(rtt()).toBeGreaterThanOrEqual(2 * ONE_WAY_MS - 2);
  expect(rtt()).toBeLessThan(4 * ONE_WAY_MS);
});
