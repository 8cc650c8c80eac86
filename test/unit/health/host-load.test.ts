import { describe, expect, it } from 'vitest';
import { countConnections, countListed } from '../../../src/health/host-load.js';
import { waitUntil } from '../../../src/lab/process.js';
import { serving } from '../../support/serving.js';

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
