/** Transfers through a gateway whose TUN loses, repeats, reorders and corrupts packets: TCP mends it, and no byte is wrong. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

const FAULT = { seed: 7, drop: 0.01, duplicate: 0.02, reorder: 0.02, corrupt: 0.01 };
const TRANSFERS = 3;
const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

describe('a laboratory with faults', () => {
  it.each(CONFIGURATIONS)('carries every byte under %s', async (configuration) => {
    const tun = { name: 'fsgw', queueLength: 4096, fault: FAULT };
    const options = {
      configuration,
      race: 'gateway',
      fastpath: 'off',
      changes: { gateway: { tun } },
    } as const;
    await withLab(options, async (lab) => {
      const bytes = randomBytes(256 * 1024);
      mkdirSync(`${lab.state.directory}/blob`, { recursive: true });
      writeFileSync(`${lab.state.directory}/blob/256k`, bytes);
      const url = `http://${lab.topology.services[0].address}/blob/256k`;
      for (let n = 0; n < TRANSFERS; n++) {
        const script = `curl -sS --max-time 60 --retry 3 --retry-all-errors --noproxy '*' ${url} | sha256sum`;
        const { stdout, stderr } = await lab.exec('client', ['sh', '-c', script]);
        expect([stderr, stdout.split(' ')[0]]).toEqual(['', sha256(bytes)]);
      }
    });
  });
});
