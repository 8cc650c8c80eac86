// Paths that are not perfect (FAULTS: P1, P2, P4, P5): transfers over a narrow hop arrive whole, whether the hop answers
// with ICMP errors or fragments; and an ICMP error from one candidate's path is no other candidate's loss.
import { describe, expect, it } from 'vitest';
import { type Narrow, NEAREST, transfers, withNarrow } from '../../src/lab/narrow/scenes.js';
import { requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

const WAYS = CONFIGURATIONS.flatMap((c) => (['auto', 'off'] as const).map((f) => [c, f] as const));
const COUNT = 6;

async function arriveWhole(n: Omit<Narrow, 'mtu' | 'seed'>): Promise<void> {
  await withNarrow({ ...n, mtu: 1400, seed: 1 }, async (lab) => {
    for (const way of ['up', 'down'] as const) {
      const made = await transfers(lab, way, COUNT, 3);
      expect(made.map((t) => t.error)).toEqual(Array(COUNT).fill(''));
      // Where a replica is busy with transfers, another one now and then wins.
      expect(made.filter((t) => t.servedBy === NEAREST).length).toBeGreaterThanOrEqual(COUNT / 2);
    }
  });
}

describe('a hop of 1,400 bytes to the replica', () => {
  it.each(WAYS)('that sends ICMP errors: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'wan', kind: 'icmp' });
  });

  it.each(WAYS)('that fragments: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'wan', kind: 'fragments' });
  });
});

describe('a hop of 1,400 bytes to the client', () => {
  it.each([
    ['A', 'auto'],
    ['B', 'off'],
    ['C', 'auto'],
  ] as const)('that sends ICMP errors: %s, fast path %s', async (configuration, fastpath) => {
    await arriveWhole({ configuration, fastpath, hop: 'client', kind: 'icmp' });
  });
});

describe("a router that answers the origin's SYNs with ICMP errors", () => {
  it.each(['host-unreachable', 'net-unreachable', 'admin-prohibited', 'port-unreachable'])(
    '%s: replicas serve every connection',
    async (kind) => {
      await withLab({ topology: 'replica-nearest', race: 'gateway', configuration: 'A' }, async (lab) => {
        const rules = `table ip broken {
          chain forward {
            type filter hook forward priority 0
            ip daddr ${lab.topology.services[0].address} tcp flags & syn == syn reject with icmp ${kind}
          }
        }`;
        const { status, stderr } = await lab.exec('wan', ['nft', '-f', '-'], { input: rules });
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        const made = await requestMany(lab, 6, 2);
        expect(made.map((r) => r.error)).toEqual(Array(6).fill(''));
      });
    },
  );
});
