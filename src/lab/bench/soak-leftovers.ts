/**
 * What a soak leaves behind: on its hosts after the roles were stopped, and on the machine after the laboratory was
 * removed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Lab } from '../lab.js';
import { namespaceOf } from '../network.js';
import { instanceRoot, labRoot, namespaceRoot } from '../paths.js';
import { run } from '../process.js';

/** One line per thing that exists. */
export type Belongings = Set<string>;

const LOOKS: Record<string, string> = {
  link: "ip -o link | sed 's/^[0-9]*: //; s/: .*//'",
  rule: 'ip rule show',
  route: 'ip -4 route show table all',
  nftables: 'nft list ruleset',
  filter:
    'for d in wan0 lan0; do tc qdisc show dev $d; for w in ingress egress; do tc filter show dev $d $w; done; done 2>/dev/null',
  sysctl:
    'cd /proc/sys/net/ipv4; for f in * conf/all/* conf/default/* conf/lo/* conf/wan0/* conf/lan0/*; do [ -f $f ] && echo $f $(cat $f 2>/dev/null); done; true',
};

/**
 * Everything in the hosts' networks that a role could leave changed, and everything pinned in the laboratory's bpffs.
 */
export async function onHosts(lab: Lab): Promise<Belongings> {
  const all: Belongings = new Set();
  for (const host of lab.roles.hosts)
    for (const [what, script] of Object.entries(LOOKS)) {
      const { stdout } = await lab.exec(host, ['sh', '-c', script]);
      for (const line of stdout.split('\n'))
        if (line.trim() !== '') all.add(`${host} ${what}: ${line.trim()}`);
    }
  const pins = existsSync(lab.state.bpfDirectory) ? readdirSync(lab.state.bpfDirectory) : [];
  // Every bpffs has two pins of the kernel, whose names end with `.debug`.
  for (const pin of pins) if (!pin.endsWith('.debug')) all.add(`pinned: ${pin}`);
  for (const instance of instancesOf(lab.name)) all.add(`instance: ${instance}`);
  return all;
}

/**
 * Everything on the machine that belongs to a laboratory of this name: its namespaces, directories, mounts and
 * processes; and everything in the machine's own network that a role could have changed. Other users of the machine
 * do not matter.
 */
export async function onMachine(name: string): Promise<Belongings> {
  const all: Belongings = new Set();
  const list = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);
  const prefix = namespaceOf(name, '');
  for (const n of list(namespaceRoot)) if (n.startsWith(prefix)) all.add(`namespace: ${n}`);
  for (const n of list(labRoot)) if (n === name || n.startsWith(`.${name}-`)) all.add(`laboratory: ${n}`);
  for (const n of instancesOf(name)) all.add(`instance: ${n}`);
  const directory = `${labRoot}/${name}/`;
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n'))
    if (line.includes(directory)) all.add(`mount: ${line}`);
  for (const pid of list('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const command = commandOf(pid);
    if (command.includes(directory)) all.add(`process: ${command}`);
  }
  for (const [what, argv] of [
    ['nftables', ['nft', 'list', 'tables']],
    ['rule', ['ip', 'rule', 'show']],
  ] as const) {
    const { stdout } = await run([...argv]);
    for (const line of stdout.split('\n')) if (line.trim() !== '') all.add(`${what}: ${line.trim()}`);
  }
  return all;
}

export const added = (before: Belongings, after: Belongings): string[] =>
  [...after].filter((line) => !before.has(line));

/** Changes in both directions, because a missing rule is a leftover too. */
export const changed = (before: Belongings, after: Belongings): string[] => [
  ...added(before, after),
  ...added(after, before).map((line) => `gone: ${line}`),
];

function instancesOf(name: string): string[] {
  if (!existsSync(instanceRoot)) return [];
  return readdirSync(instanceRoot).filter((n) => n.startsWith(`lab-${name}-`));
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}
