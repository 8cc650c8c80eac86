// Shows transfers of 100 MiB down and up in each configuration with equal SHA-256 at both ends, and 200 connections
// at the same time; both with the fast path of this host's kernel, and through the TUN only.
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, createReadStream, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { TWO_REPLICAS, withLab } from './lab-support.js';

const MIB = 1 << 20;
const SIZE = 100 * MIB;
const SERVICE = 'http://203.0.113.10';

/** Writes `SIZE` random bytes; returns their SHA-256. */
function writeBlob(path: string): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'w');
  for (let written = 0; written < SIZE; written += MIB) {
    const chunk = randomBytes(MIB);
    hash.update(chunk);
    writeSync(fd, chunk);
  }
  closeSync(fd);
  return hash.digest('hex');
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

async function curl(lab: Lab, ...args: string[]): Promise<string> {
  const argv = ['curl', '-sS', '--fail', '--noproxy', '*', '--max-time', '120', ...args];
  const { status, stdout, stderr } = await lab.exec('client', argv, { timeoutMs: 150_000 });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

const WAYS = CONFIGURATIONS.flatMap((c) => (['auto', 'off'] as const).map((f) => [c, f] as const));

describe.each(WAYS)('configuration %s, fast path %s', (configuration, fastpath) => {
  it('carries 100 MiB down and 100 MiB up intact, from and to the nearest replica', async () => {
    await withLab({ ...TWO_REPLICAS, configuration, fastpath }, async (lab) => {
      const replica = lab.webServer('r2');
      mkdirSync(replica.blobDirectory, { recursive: true });
      const blob = `${replica.blobDirectory}/100m`;
      const there = writeBlob(blob);
      const got = `${lab.directory}/got`;

      const headers = await curl(lab, '-o', got, '-D', '-', `${SERVICE}/blob/100m`);
      expect(headers).toMatch(/^X-Served-By: r2\r$/m);
      expect(await sha256(got)).toBe(there);
      rmSync(got);

      const answer = await curl(lab, '-D', '-', '-T', blob, `${SERVICE}/upload/100m`);
      expect(answer).toMatch(/^X-Served-By: r2\r$/m);
      expect(await sha256(`${replica.uploadDirectory}/100m`)).toBe(there);
    });
  });

  it('serves 200 connections at the same time, the first of the fleet, from the nearest replica', async () => {
    await withLab({ ...TWO_REPLICAS, configuration, fastpath }, async (lab) => {
      // One curl with 200 transfers, each on its own connection at once.
      const all = [
        '-Z',
        '--no-progress-meter',
        '--parallel-immediate',
        '--parallel-max',
        '200',
        '-w',
        '%{local_port}\n',
      ];
      const printed = await curl(lab, ...all, ...Array(200).fill(`${SERVICE}/`));
      // On a busy machine another one's acknowledgement may come first, and then it serves.
      const served = printed.split('\n').filter((l) => l.startsWith('served by '));
      expect(served.length).toBe(200);
      const nearest = served.filter((l) => l === 'served by r2').length;
      expect(nearest).toBeGreaterThan(100);
      const ports = printed.split('\n').filter((l) => /^\d+$/.test(l));
      expect(new Set(ports).size).toBe(200);
      // The web server's own log has 200 client ports.
      const logged = () => lab.webServer('r2').accessLog();
      expect(await waitUntil(() => logged().length === nearest, 3000)).toBe(true);
      expect(new Set(logged().map((l) => l.client)).size).toBe(200);
    });
  });
});
