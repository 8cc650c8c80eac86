/** The profiles as a page and as JSON. */
import { cpus, release } from 'node:os';
import type { Samples } from './perf.js';

export interface Side {
  arm: string;
  /** Units a second. */
  perSecond: number;
  /** The part of one unit's time that a sample stands for. */
  nanosecondsPerSample: number;
  samples: Samples;
}

/** Two arms, with their time for the same unit of work. */
export interface Compared {
  title: string;
  unit: string;
  ours: Side;
  other: Side;
}

/** One function: nanoseconds per unit. */
export interface Row {
  name: string;
  ours: number;
  other: number;
}

export interface Table {
  title: string;
  unit: string;
  arms: { arm: string; perSecond: number; nanoseconds: number }[];
  /** The functions with the largest difference between the arms, by the time in the function itself. */
  self: Row[];
  /** The time of some functions, including all functions that they call. */
  inclusive: Row[];
}

const MOST_ROWS = 14;
/** Parts of a packet's path, each including all functions that it calls; shown where they take any time. */
const PARTS = [
  '__sys_sendto',
  '__sys_recvfrom',
  'tc_run',
  'bpf_ipv4_fib_lookup',
  'ip_rcv',
  'ip_forward',
  'nf_hook_slow',
  'fib_rules_lookup',
  'tun_chr_read_iter',
  'tun_chr_write_iter',
  '__sys_bpf',
  '__x64_sys_epoll_pwait',
  'napi_make_callback',
  'default_idle_call',
];

function rows(c: Compared, of: (s: Samples) => Map<string, number>, names: readonly string[]): Row[] {
  const cost = (side: Side, name: string): number =>
    Math.round((of(side.samples).get(name) ?? 0) * side.nanosecondsPerSample);
  return names.map((name) => ({ name, ours: cost(c.ours, name), other: cost(c.other, name) }));
}

export function table(c: Compared): Table {
  const names = [...new Set([...c.ours.samples.self.keys(), ...c.other.samples.self.keys()])];
  const apart = (r: Row): number => Math.abs(r.ours - r.other);
  return {
    title: c.title,
    unit: c.unit,
    arms: [c.ours, c.other].map(({ arm, perSecond, nanosecondsPerSample, samples }) => ({
      arm,
      perSecond: Math.round(perSecond),
      nanoseconds: Math.round(samples.total * nanosecondsPerSample),
    })),
    self: rows(c, (s) => s.self, names)
      .sort((a, b) => apart(b) - apart(a))
      .slice(0, MOST_ROWS),
    inclusive: rows(c, (s) => s.inclusive, PARTS).filter((r) => Math.max(r.ours, r.other) > 0),
  };
}

function section(t: Table): string {
  const [ours, other] = t.arms;
  const line = (r: Row): string => `| \`${r.name}\` | ${r.ours} | ${r.other} | ${r.ours - r.other} |`;
  const head = (what: string): string[] => [
    `| ${what} | ${ours.arm} | ${other.arm} | difference |`,
    '| --- | --- | --- | --- |',
  ];
  return [
    `## ${t.title[0].toUpperCase()}${t.title.slice(1)}`,
    '',
    `Nanoseconds per ${t.unit}: ${ours.nanoseconds} and ${other.nanoseconds} of all processors' time (${ours.perSecond} and ${other.perSecond} a second).`,
    '',
    ...head('the largest differences'),
    ...t.self.map(line),
    '',
    ...head('including called functions'),
    ...t.inclusive.map(line),
  ].join('\n');
}

export function page(done: readonly Compared[]): string {
  const processors = cpus();
  return `# Where the time goes

Samples of all processors by the clock (a machine of this kind counts no cycles), taken while an arm of the bench runs.
Each row is the time that one unit of work takes of all processors together, by function, including idle time
(\`pv_native_safe_halt\`) where a processor did not sleep for long. "No name": JavaScript compiled by V8. Differences
below a few per cent of the whole are chance. Made by

\`\`\`sh
npm run -s firstack -- bench profile --markdown deploy/measured/profile.md
\`\`\`

on ${processors.length} processors (${processors[0]?.model.trim() ?? 'unknown'}), Linux ${release()}.

${done.map((c) => section(table(c))).join('\n\n')}
`;
}
