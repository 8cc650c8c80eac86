import { basename } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Files that assert no time, and in which few races or none must have one certain winner: two of them run at once.
 * Each has laboratories of its own, whose names hold the number of its process.
 */
const WAITING = [
  'amplification',
  'bad-input',
  'bench-race',
  'damage',
  'endpoints',
  'farm',
  'doctor',
  'drain',
  'drain-registry',
  'faults',
  'firewalls',
  'forged',
  'host-shapes',
  'identities',
  'judged',
  'kernel-evidence',
  'kernel-numbers',
  'kernel-table',
  'lab-life',
  'lab-network',
  'leftovers',
  'metrics',
  'numbers',
  'outliers',
  'pair-keys',
  'paths',
  'peers',
  'programs',
  'registry',
  'registry-failover',
  'registry-hints',
  'registry-faults',
  'registry-refusals',
  'routing',
  'routing-bench',
  'routing-ipv6',
  'servers',
  'setup',
  'steering-text',
  'stops',
  'stuck',
  'registry-trust',
  'transfer',
  'trust',
].map((name) => `test/integration/${name}.test.ts`);

/** Those that take longest, in this order: they begin first, so that none is left to run alone. */
const LONGEST = [
  'paths',
  'damage',
  'routing-bench',
  'doctor',
  'leftovers',
  'judged',
  'host-shapes',
  'bench-race',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.indexOf(basename(moduleId, '.test.ts'));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

/**
 * In many of these tests one certain machine must win a race by milliseconds. On a machine that is shared, somebody
 * else's stall decides such a race now and then. What fails twice in a row has failed; the report shows what was
 * repeated.
 */
const integration = { testTimeout: 180_000, hookTimeout: 120_000, retry: 1 };

// Unit and fuzz tests need no root. Integration tests bring up network namespaces on a machine of two cores: first
// those that wait, two files at once, then the others, one file after another.
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts', 'test/fuzz/**/*.test.ts'],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          ...integration,
          name: 'integration-waiting',
          include: WAITING,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...integration,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          exclude: WAITING,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
