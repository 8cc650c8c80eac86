// A machine that acknowledges fast and serves slowly must not win for ever: the nearest replica's web server is
// replaced by one that takes half a second for its first byte. Its kernel still answers as fast as before.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { withLab } from './lab-support.js';

const SLOW_MS = 500;
const SERVER = `
const { createServer } = require('node:http');
createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok');
  setTimeout(() => response.setHeader('X-Served-By', 'r2').end('served by r2\\n'), ${SLOW_MS});
}).listen(80);
`;

describe.each(['learned', 'gateway'] as const)('race %s', (race) => {
  it.each(['A', 'C'] as const)(
    '%s: the nearest replica, which serves slowly, is ejected for some time',
    async (configuration) => {
      await withLab({ topology: 'replica-nearest', configuration, race }, async (lab) => {
        await lab.webServer('r2').kill();
        const script = `${lab.directory}/slow.cjs`;
        writeFileSync(script, SERVER);
        lab.spawnIn('r2', [process.execPath, script], { stdio: 'ignore' });
        const up = async () =>
          (await lab.exec('r2', ['curl', '-s', 'http://198.18.12.2/healthz'])).stdout === 'ok' &&
          (await lab.roles.status('r2'))?.state === 'up';
        expect(await waitUntil(up, 10_000)).toBe(true);

        const served: string[] = [];
        const ejected = async () => {
          const results = await requestMany(lab, 8, 4);
          expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
          served.push(...results.map((r) => r.servedBy));
          return (await lab.roles.status('gateway'))?.applied.ejected?.includes('r2') === true;
        };
        expect(await waitUntil(ejected, 40_000)).toBe(true);
        // It has won before, because its acknowledgement is the nearest.
        expect(served.filter((s) => s === 'r2').length).toBeGreaterThanOrEqual(5);
        const after = await requestMany(lab, 12, 4);
        expect(after.filter((r) => !r.ok)).toEqual([]);
        expect(new Set(after.map((r) => r.servedBy))).toEqual(new Set(['r1']));
      });
    },
  );
});
