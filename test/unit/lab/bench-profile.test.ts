import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { count, noSamples, requirePerf, type Samples } from '../../../src/lab/bench/perf.js';
import { type Compared, page, table } from '../../../src/lab/bench/profile-report.js';

// The output of `perf script -F comm,ip,sym`: a command, its stack from the innermost function on, an empty line.
const SCRIPT = `load 
\tffffffff81e42d78 _copy_to_iter
\tffffffff81e42d00 __sys_recvfrom

node 
\t    55fac8ec904a [unknown]
\t    55fac8ec0000 v8::Function::Call(v8::Local<v8::Context>)

node 
\tffffffffc0025598 bpf_prog_9810f7b880edab33_gateway_lan_l2
\tffffffff81000000 tc_run
\tffffffff81000000 tc_run
`;

let home: string;
const path = process.env.PATH;
beforeEach(() => {
  home = mkdtempSync('/tmp/firstack-perf-');
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(home, { recursive: true });
});

const object = (m: Map<string, number>): Record<string, number> => Object.fromEntries(m);

describe('samples', () => {
  it('are counted for the function that ran, and once for each function on the stack', async () => {
    writeFileSync(join(home, 'perf'), `#!/bin/sh\ncat <<'END'\n${SCRIPT}\nEND\n`);
    chmodSync(join(home, 'perf'), 0o755);
    process.env.PATH = `${home}:${path}`;
    const samples = noSamples();
    await count('ignored', samples);
    await count('ignored', samples);
    expect(samples.total).toBe(6);
    expect(object(samples.self)).toEqual({
      _copy_to_iter: 2,
      '(no name, in node)': 2,
      'bpf:gateway_lan_l2': 2,
    });
    expect(samples.inclusive.get('tc_run')).toBe(2);
    expect(samples.inclusive.get('v8::Function::Call')).toBe(2);
  });

  it('need perf, or fail with an error', async () => {
    process.env.PATH = home;
    await expect(requirePerf()).rejects.toMatchObject({ code: 'FSA_TOOL_MISSING' });
  });
});

const samples = (self: Record<string, number>, inclusive: Record<string, number>): Samples => ({
  total: Object.values(self).reduce((a, b) => a + b, 0),
  self: new Map(Object.entries(self)),
  inclusive: new Map(Object.entries(inclusive)),
});

describe('a comparison', () => {
  const compared: Compared = {
    title: 'ours beside theirs',
    unit: 'packet',
    ours: {
      arm: 'ours',
      perSecond: 1000,
      nanosecondsPerSample: 2,
      samples: samples({ a: 10, b: 50 }, { tc_run: 30 }),
    },
    other: {
      arm: 'theirs',
      perSecond: 500,
      nanosecondsPerSample: 4,
      samples: samples({ a: 10, c: 1 }, { ip_rcv: 5 }),
    },
  };

  it('is in nanoseconds of each arm, the largest difference first', () => {
    expect(table(compared)).toMatchObject({
      arms: [
        { arm: 'ours', perSecond: 1000, nanoseconds: 120 },
        { arm: 'theirs', perSecond: 500, nanoseconds: 44 },
      ],
      self: [
        { name: 'b', ours: 100, other: 0 },
        { name: 'a', ours: 20, other: 40 },
        { name: 'c', ours: 0, other: 4 },
      ],
      inclusive: [
        { name: 'tc_run', ours: 60, other: 0 },
        { name: 'ip_rcv', ours: 0, other: 20 },
      ],
    });
  });

  it('is a section of the page', () => {
    expect(page([compared])).toContain('| `b` | 100 | 0 | 100 |');
  });
});
