// A replica's record changes while connections are open, and every packet goes through the TUN: the connections stay.
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { TWO_REPLICAS, withLab } from './lab-support.js';

const script = fileURLToPath(new URL('../support/kept-connections.mjs', import.meta.url));
const COUNT = 8;

/** Connections that stay open; each call sends a request on every one of them. */
function keep(lab: Lab) {
  const argv = [process.execPath, script, '203.0.113.10', '80', '30000', String(COUNT)];
  const child = lab.spawnIn('client', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    async ask(): Promise<string[]> {
      child.stdin!.write('ask\n');
      return JSON.parse((await lines.next()).value as string) as string[];
    },
    end: () => child.stdin!.end(),
  };
}

/** Stops a replica's role, changes its file, and starts it again. Its web server goes on. */
async function change(lab: Lab, edit: (file: Record<string, unknown>) => void): Promise<void> {
  await lab.stopRole('r2');
  const path = lab.roles.configFile('r2');
  const file = parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  edit(file);
  writeFileSync(path, stringify(file));
  lab.startRole('r2');
}

describe('with every packet on the TUN, a connection stays when its replica', () => {
  it('has another id', async () => {
    await withLab({ ...TWO_REPLICAS, configuration: 'A', fastpath: 'off', race: 'learned' }, async (lab) => {
      const kept = keep(lab);
      expect(await kept.ask()).toEqual(new Array(COUNT).fill('r2'));
      await change(lab, (file) => {
        file.id = 'r9';
      });
      const known = async (): Promise<boolean> =>
        (await lab.roles.status('gateway'))!.applied.replicasUp.includes('r9');
      expect(await waitUntil(known, 15_000)).toBe(true);
      expect(await kept.ask()).toEqual(new Array(COUNT).fill('r2'));
      kept.end();
    });
  });

  it('serves new connections at another address', async () => {
    await withLab({ ...TWO_REPLICAS, configuration: 'A', fastpath: 'off', race: 'learned' }, async (lab) => {
      const kept = keep(lab);
      expect(await kept.ask()).toEqual(new Array(COUNT).fill('r2'));
      const moved = '198.18.12.77';
      await lab.exec('r2', ['ip', 'address', 'add', `${moved}/24`, 'dev', 'wan0']);
      await change(lab, (file) => {
        file.address = moved;
      });
      const known = async (): Promise<boolean> =>
        ((await lab.roles.status('gateway')) as unknown as { replicas: { address: string }[] }).replicas.some(
          (r) => r.address === moved,
        );
      expect(await waitUntil(known, 15_000)).toBe(true);
      expect(await kept.ask()).toEqual(new Array(COUNT).fill('r2'));
      kept.end();
    });
  });
});
