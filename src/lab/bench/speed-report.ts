/** The results of the speed bench, as a table for a terminal and as a page. */
import { cpus, release } from 'node:os';
import { basename } from 'node:path';
import type { ArmReport, Figure } from './rounds.js';

export const number = (n: number): string =>
  Math.abs(n) >= 1000 ? String(Math.round(n)) : String(Number(n.toPrecision(4)));

function armText(a: ArmReport): string {
  const cpu = a.cpuSecondsPerGb === undefined ? '' : `, ${number(a.cpuSecondsPerGb)} CPU s/GB`;
  return `${a.arm} ${number(a.median)} ${a.unit}${cpu}`;
}

const interval = (f: Figure): string =>
  f.low === f.high ? number(f.value) : `${number(f.low)} … ${number(f.high)}`;

export function table(figures: readonly Figure[]): string {
  const rows = [
    ['figure', 'value', '95 % interval', 'target', 'met', 'arms'],
    ...figures.map((f) => [
      f.id,
      number(f.value),
      interval(f),
      f.target,
      f.met,
      f.arms.map(armText).join('; '),
    ]),
  ];
  const widths = rows[0].map((_, c) => Math.max(...rows.map((r) => r[c].length)));
  return rows
    .map(
      (r) =>
        `${r
          .map((cell, c) => cell.padEnd(widths[c]))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** Reasons to distrust the run. */
export function unstable(figures: readonly Figure[]): string[] {
  const arms = figures.flatMap((f) => f.arms).filter((a) => a.unstable);
  return [...new Set(arms.map((a) => a.arm))].map(
    (arm) => `unstable: the middle half of ${arm} is wider than a fifth of its median`,
  );
}

interface Chapter {
  title: string;
  /** Prefixes of the ids. */
  ids: string[];
  text: string;
}

const CHAPTERS: Chapter[] = [
  {
    title: 'Pinned flows compared with plain routing',
    ids: ['pinned/'],
    text: `\`pinned/plain\`: one flow (\`:8\`: eight) carried by the hooks in the kernel, divided by the same flow between
the same two machines through a plain router. In configuration C the quotient is corrected for the 20 bytes of each
packet that the tunnel takes. \`pinned/nft\`: divided by nftables' destination translation. \`down\` is from server to
client; the receiver counts. Copying at both ends takes most of that time. \`:pps\` has no such copying: minimum-size
packets of one flow, from client to server, as many as one processor sends.`,
  },
  {
    title: 'Flows on the TUN',
    ids: ['tun/', 'tun-pps/'],
    text: `\`--fastpath off\`: every packet through TypeScript. \`tun/c\`: divided by a C program that does the same work on a TUN
(\`test/bench/tun-nat.c\`). \`tun/haproxy\`: divided by HAProxy in TCP mode, with or without \`splice-auto\`, whichever is
faster in that round. \`tun-pps/c\`: minimum-size packets of one flow, as many as one processor sends, counted
where they arrive.`,
  },
  {
    title: 'New connections',
    ids: ['crr/', 'race-crr/'],
    text: `Connect, one byte each way, close; four clients. \`crr/nft\`: a gateway race with one replica, SYN and SYN-ACK
through TypeScript, divided by nftables; \`:learned\`: with \`--race learned\`. \`race-crr\`: every connection asks four
replicas and resets three of them, divided by HAProxy with one server; \`losers-ms\`: from the end of a round until
no replica has a half-open connection, in the slowest round.`,
  },
  {
    title: 'Many flows, and the cost of one',
    ids: ['flows-1m/', 'bytes-per-flow', 'ebpf-cost'],
    text: `\`flows-1m/1\`: packets of a million pinned flows, divided by packets of one of them; the entry of every packet
is in no processor's cache. Minimum-size packets; \`:full-size\`: 1500 bytes; \`:super-packets\`: 58 kB, cut
into segments by the last interface; \`:typescript\`: minimum-size packets through the gateway's stages with a table of
a million, without a device. \`bytes-per-flow\`: bytes of typed arrays per entry of capacity, and the kernel map's
memlock per entry. \`ebpf-cost\`: nanoseconds of \`BPF_PROG_TEST_RUN\` above those of an empty hook, with a new packet of
one of 65,536 flows in each run; and, computed from packets a second, the nanoseconds that pinning and nftables add to
plain routing.`,
  },
  {
    title: 'Connections that are pinned late or outlive a gateway',
    ids: ['pin-midflow', 'killed'],
    text: `\`pin-midflow\`: transfers in both directions at the same time, pinned after a few packets went through the TUN;
their content is checked by position: bytes lost or wrong, resets, and segments that arrived out of order.
\`killed\`: the gateway is killed (SIGKILL) while a thousand transfers run; half of them end before its successor
starts, the others after.`,
  },
];

const cell = (text: string): string => text.replaceAll('|', '\\|');

function figureTable(figures: readonly Figure[]): string[] {
  return [
    '| figure | value | 95 % interval | target | met |',
    '| --- | --- | --- | --- | --- |',
    ...figures.map(
      (f) => `| \`${f.id}\` | ${number(f.value)} | ${interval(f)} | ${cell(f.target)} | ${f.met} |`,
    ),
  ];
}

function armTable(figures: readonly Figure[]): string[] {
  const arms = new Map(figures.flatMap((f) => f.arms.map((a) => [a.arm, a] as const)));
  if (arms.size === 0) return [];
  const optional = (n: number | undefined): string => (n === undefined ? '' : number(n));
  return [
    '',
    '| arm | median | quartiles | unit | CPU s/GB, machine | CPU s/GB, its processes |',
    '| --- | --- | --- | --- | --- | --- |',
    ...[...arms.values()].map(
      (a) =>
        `| ${cell(a.arm)} | ${number(a.median)} | ${a.quartiles.map(number).join(' … ')} | ${a.unit} | ${optional(a.cpuSecondsPerGb)} | ${optional(a.ownCpuSecondsPerGb)} |`,
    ),
    ...[...arms.values()].filter((a) => a.note !== undefined).map((a) => `\n${a.arm}: ${a.note}.`),
  ];
}

export function markdown(figures: readonly Figure[], svg: string | undefined): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? 'unknown';
  const quick = figures[0]?.command.includes('--quick') ? ' -- --quick' : ' --';
  const lines = [
    '# Speed, measured',
    '',
    'Arms in network namespaces of one machine, interleaved in random order round by round; a quotient is taken in each',
    'round, and the value is the median and its bootstrap 95 % interval. `met` is `yes` when the whole interval',
    'reaches the target, `no` when none of it does. Made by',
    '',
    '```sh',
    `npm run -s bench${quick} --json --svg deploy/measured/performance.svg --markdown deploy/measured/performance.md`,
    '```',
    '',
    `on ${processors.length} processors (${model}), Linux ${release()}. All of client, router and server share them.`,
    '',
  ];
  for (const line of unstable(figures)) lines.push(`**${line}.**`, '');
  lines.push('[What limits the figures that miss their targets](performance-limits.md).', '');
  if (svg !== undefined) lines.push(`![quotients with their intervals and targets](${basename(svg)})`, '');
  for (const c of CHAPTERS) {
    const own = figures.filter((f) => c.ids.some((id) => f.id.startsWith(id)));
    if (own.length === 0) continue;
    lines.push(`## ${c.title}`, '', c.text, '', ...figureTable(own), ...armTable(own), '');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
