// A connection that has just begun survives two events at its replica: the role is killed before the client's answer
// to the SYN-ACK has arrived there, and the role is stopped before the request has.
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { request } from '../../src/lab/requests.js';
import { TWO_REPLICAS, untilServedBy, withLab } from './lab-support.js';

/** Long enough to kill a process meanwhile, and shorter than the first retransmission. */
const FAR_MS = 800;

/** Opens a connection, prints that, and requests the page on a command. */
const CLIENT = `
const socket = require('net').connect(80, '203.0.113.10', () => console.log('connected'));
let text = '';
socket.on('data', (part) => { text += part; });
socket.on('close', () => console.log(JSON.stringify(text)));
socket.on('error', (error) => { text += error.code; });
socket.setTimeout(10000, () => socket.destroy(new Error('timeout')));
process.stdin.once('data', () => socket.write('GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'));
process.stdin.resume().unref();
`;

function connect(lab: Lab) {
  const child = lab.spawnIn('client', [process.execPath, '-e', CLIENT], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout! });
  const answer = async (): Promise<string> => {
    const [line] = await once(lines, 'line');
    return JSON.parse(line);
  };
  return {
    connected: once(lines, 'line'),
    ask: () => {
      const answered = answer();
      child.stdin!.write('now\n');
      return answered;
    },
  };
}

describe.each(['B', 'C'] as const)('configuration %s: a connection', (configuration) => {
  it('outlives a role that is killed before the client has answered its SYN-ACK', async () => {
    await withLab({ ...TWO_REPLICAS, configuration }, async (lab) => {
      await untilServedBy(lab, 'r2');
      await lab.wan.setPath('gateway>r2', { delayMs: FAR_MS });
      const client = connect(lab);
      await client.connected;
      await lab.killRole('r2');
      expect(await client.ask()).toContain('served by r2');
    });
  });

  it('that has begun is still served by a role that is stopping, and the next connection is not', async () => {
    await withLab({ ...TWO_REPLICAS, configuration }, async (lab) => {
      const client = connect(lab);
      await client.connected;
      const stopped = lab.stopRole('r2');
      const next = await request(lab);
      expect([next.error, next.servedBy]).toEqual(['', 'r1']);
      expect(await client.ask()).toContain('served by r2');
      await stopped;
      expect(lab.roles.isRunning('r2')).toBe(false);
    });
  });
});
