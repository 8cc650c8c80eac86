/**
 * Shares of an access link: classes of HTB on the interface that the operator names, by the source of the packets that leave
 * (a virtual host). Each class is sure of its share, and gets what the others leave. Two levels: customers, and the classes of
 * one customer. The queueing discipline stays when the role is killed; a later process changes it in place.
 */
import { execFileSync } from 'node:child_process';
import { FirstackError, type Problem } from '../errors.js';
import { attempt, batch, command } from './tools.js';

export interface ShareClass {
  name: string;
  /** Percent of what is above. */
  share: number;
  /** Sources, ADDRESS/BITS. A class that has classes has none of its own. */
  subnets: readonly string[];
  classes: readonly ShareClass[];
}

export interface SharesConfig {
  interface: string;
  rateMbit: number;
  classes: readonly ShareClass[];
}

/** What left in a class so far. */
export interface ShareCount {
  name: string;
  mbit: number;
  /** With the link's own headers. */
  bytes: number;
  packets: number;
  dropped: number;
}

/** The discipline's own number, by which this role knows it. */
const HANDLE = '7480:';
const ROOT = '7480:1';
/** What no class claims. It gets the rest, and one hundredth at least. */
const REST = '7480:fff';
/** A class has sixteen numbers: its own, and those of its classes. */
const STEP = 16;
export const MOST_CLASSES = 200;
export const MOST_INNER = STEP - 1;
/** Bytes that a class sends in its turn, when what is left over is shared: a full packet at least. */
const QUANTUM = 600;
const LEAST_QUANTUM = 1514;
/** What a queue holds: this long at the class's own rate, and some packets at least. */
const QUEUE_MS = 100;
const LEAST_QUEUE = 30;
const FULL_PACKET = 1514;
/** Two pairs of preferences for filters: a change writes one pair, and removes the other one after that. */
const PREFERENCES = [
  ['10', '11'],
  ['20', '21'],
] as const;

interface PlannedClass {
  name: string;
  id: string;
  parent: string;
  mbit: number;
  isLeaf: boolean;
  subnets: readonly string[];
}

export function plannedClasses({ classes, rateMbit }: SharesConfig): PlannedClass[] {
  return classes.flatMap((outer, n) => {
    const at = STEP * (n + 1);
    const own = plannedClass(outer, outer.name, at, ROOT, rateMbit);
    const inner = outer.classes.map((c, k) =>
      plannedClass(c, `${outer.name}/${c.name}`, at + k + 1, own.id, own.mbit),
    );
    return [own, ...inner];
  });
}

function plannedClass(c: ShareClass, name: string, at: number, parent: string, above: number): PlannedClass {
  const id = `${HANDLE}${at.toString(16)}`;
  const mbit = (above * c.share) / 100;
  return { name, id, parent, mbit, isLeaf: c.classes.length === 0, subnets: c.subnets };
}

/** The commands of `tc` that put the classes in place where the discipline stands, in order. */
export function classCommands(config: SharesConfig): string[][] {
  const { interface: dev, rateMbit } = config;
  const htb = (id: string, parent: string, mbit: number): string[] => [
    ...['class', 'replace', 'dev', dev, 'parent', parent, 'classid', id, 'htb'],
    ...['rate', bits(mbit), 'ceil', bits(rateMbit), 'burst', '15k', 'cburst', '15k'],
    ...['quantum', String(Math.max(LEAST_QUANTUM, Math.round((QUANTUM * 100 * mbit) / rateMbit)))],
  ];
  const queue = (id: string, mbit: number): string[] => {
    const packets = Math.max(LEAST_QUEUE, Math.round((mbit * 1e3 * QUEUE_MS) / 8 / FULL_PACKET));
    return [
      'qdisc',
      'replace',
      'dev',
      dev,
      'parent',
      id,
      'handle',
      `${handleOf(id)}:`,
      'pfifo',
      'limit',
      String(packets),
    ];
  };
  const claimed = config.classes.reduce((n, c) => n + c.share, 0);
  const rest = (rateMbit * Math.max(1, 100 - claimed)) / 100;
  return [
    htb(ROOT, HANDLE, rateMbit),
    htb(REST, ROOT, rest),
    queue(REST, rest),
    ...plannedClasses(config).flatMap((c) => [
      htb(c.id, c.parent, c.mbit),
      ...(c.isLeaf ? [queue(c.id, c.mbit)] : []),
    ]),
  ];
}

/** A queue's own number: its class's, above those that the kernel gives by itself. */
const handleOf = (id: string): string => (0x1000 + Number.parseInt(id.slice(HANDLE.length), 16)).toString(16);
const bits = (mbit: number): string => `${Math.max(8000, Math.round(mbit * 1e6))}bit`;

/** @param pair which of the two pairs of preferences */
export function filterCommands(config: SharesConfig, pair: 0 | 1): string[][] {
  const bitsOf = (subnet: string): number => Number(subnet.split('/')[1]);
  const all = plannedClasses(config)
    .flatMap((c) => c.subnets.map((subnet) => ({ subnet, id: c.id })))
    .sort((a, b) => bitsOf(b.subnet) - bitsOf(a.subnet));
  return all.map(({ subnet, id }) => {
    const isV6 = subnet.includes(':');
    const [protocol, match] = isV6 ? ['ipv6', 'ip6'] : ['ip', 'ip'];
    const pref = PREFERENCES[pair][isV6 ? 1 : 0];
    return [
      ...['filter', 'add', 'dev', config.interface, 'parent', HANDLE, 'protocol', protocol, 'pref', pref],
      ...['u32', 'match', match, 'src', subnet, 'flowid', id],
    ];
  });
}

interface Qdisc {
  kind: string;
  handle: string;
  root?: boolean;
}

/** Whether another's discipline stands on an interface: what it is, or ''. A default one has no number. */
export function othersOn(dev: string): string {
  let text: string;
  try {
    text = execFileSync('tc', ['-j', 'qdisc', 'show', 'dev', dev], { encoding: 'utf8' });
  } catch {
    // The check of interfaces says that there is none.
    return '';
  }
  const root = (JSON.parse(text === '' ? '[]' : text) as Qdisc[]).find((q) => q.root === true);
  return root === undefined || root.handle === '0:' || isOwn(root) ? '' : `${root.kind} ${root.handle}`;
}

/** The problem of another's discipline on an interface. */
export const takenBy = (dev: string, others: string): Problem => ({
  code: 'FSA_STEERING_TAKEN',
  message: `${dev}: ${others} stands there, and shares never replace it: tc qdisc del dev ${dev} root`,
});

const isOwn = (q: Qdisc): boolean => q.kind === 'htb' && q.handle === HANDLE;

export class Shares {
  #config: SharesConfig | undefined;
  #busy: Promise<unknown> = Promise.resolve();

  /** Puts the classes in place; what stands of a predecessor is changed without a break. */
  apply(config: SharesConfig): Promise<void> {
    const done = this.#busy.then(() => this.#apply(config));
    this.#busy = done.catch(() => {});
    return done;
  }

  async #apply(config: SharesConfig): Promise<void> {
    const { interface: dev } = config;
    if (this.#config !== undefined && this.#config.interface !== dev) await this.#remove();
    const others = othersOn(dev);
    if (others !== '') throw new FirstackError('FSA_STEERING_TAKEN', takenBy(dev, others).message);
    if (!(await this.#stands(dev)))
      await command('tc', ['qdisc', 'add', 'dev', dev, 'root', 'handle', HANDLE, 'htb', 'default', 'fff']);
    const before = await this.#filters(dev);
    const pair = before.includes(PREFERENCES[0][0]) || before.includes(PREFERENCES[0][1]) ? 1 : 0;
    await batch('tc', [...classCommands(config), ...filterCommands(config, pair)]);
    for (const pref of PREFERENCES[1 - pair])
      if (before.includes(pref))
        await attempt('tc', ['filter', 'del', 'dev', dev, 'parent', HANDLE, 'pref', pref]);
    await this.#forgetOthers(config);
    this.#config = config;
  }

  /** Puts back what another program took away. @returns the interface where it had to, or '' */
  async look(): Promise<string> {
    const config = this.#config;
    if (config === undefined || (await this.#stands(config.interface))) return '';
    await this.apply(config);
    return config.interface;
  }

  async #stands(dev: string): Promise<boolean> {
    const text = await command('tc', ['-j', 'qdisc', 'show', 'dev', dev]);
    return (JSON.parse(text) as Qdisc[]).some((q) => q.root === true && isOwn(q));
  }

  async #filters(dev: string): Promise<string[]> {
    const text = await command('tc', ['filter', 'show', 'dev', dev, 'parent', HANDLE]);
    return [...new Set([...text.matchAll(/ pref (\d+) /g)].map((m) => m[1]))];
  }

  /** Classes that are no longer wanted, the inner ones first. */
  async #forgetOthers(config: SharesConfig): Promise<void> {
    const wanted = new Set([ROOT, REST, ...plannedClasses(config).map((c) => c.id)]);
    const standing = (await this.#classes(config.interface)).map((c) => c.id).filter((id) => !wanted.has(id));
    const number = (id: string): number => Number.parseInt(id.slice(HANDLE.length), 16);
    for (const id of standing.sort((a, b) => (number(b) % STEP) - (number(a) % STEP)))
      await attempt('tc', ['class', 'del', 'dev', config.interface, 'classid', id]);
  }

  async #classes(dev: string): Promise<{ id: string; bytes: number; packets: number; dropped: number }[]> {
    const text = await command('tc', ['-s', 'class', 'show', 'dev', dev]);
    return [...text.matchAll(/class htb (\S+) [^\n]*\n\s*Sent (\d+) bytes (\d+) pkt \(dropped (\d+)/g)].map(
      (m) => ({
        ...{ id: m[1], bytes: Number(m[2]), packets: Number(m[3]), dropped: Number(m[4]) },
      }),
    );
  }

  /** What left in each class, since the class stands. */
  async counts(): Promise<ShareCount[]> {
    const config = this.#config;
    if (config === undefined) return [];
    const standing = new Map((await this.#classes(config.interface)).map((c) => [c.id, c]));
    return plannedClasses(config).flatMap(({ name, id, mbit }) => {
      const count = standing.get(id);
      return count === undefined
        ? []
        : [{ name, mbit, bytes: count.bytes, packets: count.packets, dropped: count.dropped }];
    });
  }

  remove(): Promise<void> {
    const done = this.#busy.then(() => this.#remove());
    this.#busy = done.catch(() => {});
    return done;
  }

  async #remove(): Promise<void> {
    const config = this.#config;
    this.#config = undefined;
    if (config !== undefined && (await this.#stands(config.interface).catch(() => false)))
      await attempt('tc', ['qdisc', 'del', 'dev', config.interface, 'root', 'handle', HANDLE]);
  }
}
