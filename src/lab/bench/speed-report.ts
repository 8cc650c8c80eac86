/** What the bench of speed found, as a table for a terminal and as a page. */
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

/** What the run says against itself. */
export function unstable(figures: readonly Figure[]): string[] {
  const arms = figures.flatMap((f) => f.arms).filter((a) => a.unstable);
  return [...new Set(arms.map((a) => a.arm))].map(
    (arm) => `unstable: the middle half of ${arm} is wider than a fifth of its median`,
  );
}

interface Chapter {
  title: string;
  /** Beginnings of the ids. */
  ids: string[];
  text: string;
}

const CHAPTERS: Chapter[] = [
  {
    title: 'Pinned flows beside no balancer at all',
    ids: ['pinned/'],
    text: `\`pinned/plain\`: one flow (\`:8\`: eight) carried by the hooks in the kernel, over the same between the
same two machines with a router in the middle and no balancer. Under C the quotient is credited the 20 bytes of
each packet that the tunnel takes. \`pinned/nft\`: over nftables' destination translation. \`down\` is from server to
client; the receiver counts. There, copying at both ends takes most of the time; \`:pps\` has none of it: minimum-size
packets of one flow, from client to server, as many as one processor sends.`,
  },
  {
    title: 'Flows on the TUN',
    ids: ['tun/', 'tun-pps/'],
    text: `\`--fastpath off\`: every packet through TypeScript. \`tun/c\`: over a C program that does the same work on its TUN
(\`test/bench/tun-nat.c\`). \`tun/haproxy\`: over HAProxy in TCP mode, the faster one of with and without
\`splice-auto\` in each round. \`tun-pps/c\`: minimum-size packets of one flow, as many as one processor sends, counted
where they arrive.`,
  },
  {
    title: 'New connections',
    ids: ['crr/', 'race-crr/'],
    text: `Connect, one byte each way, close; four clients. \`crr/nft\`: a gateway race with one replica, SYN and SYN-ACK
through TypeScript, over nftables; \`:learned\`: with \`--race learned\`. \`race-crr\`: four replicas asked by every
connection, three of them reset, over HAProxy with one; \`losers-ms\`: from the end of a round until no replica
holds a connection that nobody will open, in the slowest round.`,
  },
  {
    title: 'Many flows, and what one costs',
    ids: ['flows-1m/', 'bytes-per-flow', 'ebpf-cost'],
    text: `\`flows-1m/1\`: packets spread over a million pinned flows, over packets of one of them; every packet meets an
entry that no processor's cache holds. Minimum-size packets; \`:full-size\`: 1500 bytes; \`:super-packets\`: 58 kB, cut
into segments by the last interface; \`:typescript\`: minimum-size packets through the gateway's stages with a table of
a million, without a device. \`bytes-per-flow\`: typed arrays per
entry of capacity; the kernel map's memlock per entry. \`ebpf-cost\`: nanoseconds of \`BPF_PROG_TEST_RUN\` above an empty
program, a fresh packet of one of 65,536 flows each run; beside it what pinning and nftables add to a packet's way
through a router, from packets a second.`,
  },
  {
    title: 'What becomes of connections',
    ids: ['pin-midflow', 'killed'],
    text: `\`pin-midflow\`: transfers both ways at once, their content checked by position, pinned after a few packets went
through the TUN: bytes lost or wrong, resets, and segments that came out of order. \`killed\`: the gateway is killed
(SIGKILL) while a thousand transfers run; half of them end while nobody is there, the others under its successor.`,
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
    'round, and what stands here is the median and its bootstrap 95 % interval. `met` is `yes` when the whole interval',
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
  lines.push('[What limits those that are not reached](performance-limits.md).', '');
  if (svg !== undefined) lines.push(`![quotients with their intervals and targets](${basename(svg)})`, '');
  for (const c of CHAPTERS) {
    const own = figures.filter((f) => c.ids.some((id) => f.id.startsWith(id)));
    if (own.length === 0) continue;
    lines.push(`## ${c.title}`, '', c.text, '', ...figureTable(own), ...armTable(own), '');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
