/**
 * Assigns connections to several adjacent servers, as text for the kernel. A hash of the connection selects a slot,
 * and the slot has a server's mark. An `ip rule` on the mark leads to a routing table whose only route is via that
 * server. The server to which a connection's SYN went is remembered, so that the rest of the connection goes there
 * when the slots change.
 *
 * Uses a separate nftables table, so that rules can be replaced without losing the `flows` map, and keep working
 * after this process dies.
 */
import { interfaces, tableName } from './plan.js';

export interface NextHops {
  wan: readonly string[];
  tun: string;
  /** The bits of the mark that number the servers. For packets to the servers the whole mark is set. */
  mask: number;
  /** The mark that steers a SYN to the TUN, which is set too. */
  steer: { mark: number; mask: number };
  /** Routing table of server 1; server 2 has the next table, and so on. */
  table: number;
  priority: number;
  seed: number;
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  /** The servers' own addresses on the LAN. */
  servers: readonly string[];
  services: readonly { address: string; port: number; slots: Int32Array }[];
}

/** The name of the table that remembers connections. */
export function nextHopsTable(instance: string): string {
  return `${tableName(instance)}_servers`;
}

/** The number of servers that the mask's bits can number; 0 means none. */
export function mostServers(mask: number): number {
  return (mask >>> 0) / lowest(mask);
}

const lowest = (mask: number): number => (mask & -mask) >>> 0;
const hex = (n: number): string => `0x${(n >>> 0).toString(16)}`;
const seconds = (ms: number): string => `${Math.ceil(ms / 1000)}s`;
/** The mark of the server with this number. */
export const markOf = (mask: number, number: number): number => number * lowest(mask);

const FLOW = 'ip saddr . tcp sport . ip daddr . tcp dport';
const SYN = 'tcp flags & (syn | ack | rst) == syn';
/** After the role's own nftables table. */
const PRIORITY = -290;

/**
 * Text for `nft -f`: makes the table where it does not exist, and replaces its rules, in one transaction.
 * @param numbers the servers' numbers, by address
 */
export function nextHopsText(instance: string, n: NextHops, numbers: ReadonlyMap<string, number>): string {
  const table = `inet ${nextHopsTable(instance)}`;
  const served = n.services.filter((s) => s.slots.some((server) => server >= 0));
  const chains = served.map((_, i) => `choose${i}`);
  const from = (names: readonly string[]): string => `iifname ${interfaces(names)}`;
  const rules = served.flatMap(({ address, port }, i) => {
    const to = `ip daddr ${address} tcp dport ${port}`;
    const remember = (ms: number): string => `update @flows { ${FLOW} timeout ${seconds(ms)} : meta mark }`;
    return [
      // A SYN passes here twice: on its way to the role's TUN, and when the role has written it to the TUN again.
      `${from([n.tun])} ${to} ${SYN} jump ${chains[i]}`,
      `${from(n.wan)} ${to} ${SYN} jump ${chains[i]}`,
      `${from(n.wan)} ${to} ${SYN} meta mark set meta mark & ${hex(~n.steer.mask)} | ${hex(n.steer.mark)} accept`,
      `${from(n.wan)} ${to} tcp flags & (fin | rst) != 0 meta mark set ${FLOW} map @flows ${remember(n.flows.closingTimeoutMs)} accept`,
      `${from(n.wan)} ${to} meta mark set ${FLOW} map @flows ${remember(n.flows.establishedTimeoutMs)} accept`,
      // An unknown connection: it began before the service had several servers, or was forgotten.
      `${from(n.wan)} ${to} jump ${chains[i]}`,
    ];
  });
  const choices = served.flatMap((service, i) => [
    `flush chain ${table} ${chains[i]}`,
    `add rule ${table} ${chains[i]} meta mark set jhash ${FLOW} mod ${service.slots.length} seed ${hex(n.seed)} map { ${slotElements(n, service.slots, numbers)} }`,
    // Deletes first, because an update would keep the server of an older connection with the same tuple.
    `add rule ${table} ${chains[i]} delete @flows { ${FLOW} : meta mark }`,
    `add rule ${table} ${chains[i]} add @flows { ${FLOW} timeout ${seconds(n.flows.openingTimeoutMs)} : meta mark }`,
  ]);
  return [
    `add table ${table}`,
    `add map ${table} flows { type ipv4_addr . inet_service . ipv4_addr . inet_service : mark; flags dynamic,timeout; size ${n.flows.max}; }`,
    `add chain ${table} prerouting { type filter hook prerouting priority ${PRIORITY}; policy accept; }`,
    `flush chain ${table} prerouting`,
    ...chains.map((c) => `add chain ${table} ${c}`),
    ...choices,
    ...rules.map((r) => `add rule ${table} prerouting ${r}`),
    '',
  ].join('\n');
}

function slotElements(n: NextHops, slots: Int32Array, numbers: ReadonlyMap<string, number>): string {
  const marks = n.servers.map((address) => hex(markOf(n.mask, numbers.get(address) ?? 0)));
  const elements: string[] = [];
  slots.forEach((server, slot) => {
    if (server >= 0) elements.push(`${slot} : ${marks[server]}`);
  });
  return elements.join(', ');
}

/** One server's rule, and its table's only route, as arguments of `ip rule` and `ip route`. */
export function nextHopArguments(
  n: Pick<NextHops, 'mask' | 'table' | 'priority'>,
  number: number,
  address: string,
): { rule: string[]; route: string[]; table: string } {
  const table = String(n.table + number - 1);
  const mark = `${hex(markOf(n.mask, number))}/${hex(n.mask)}`;
  return {
    rule: ['pref', String(n.priority), 'fwmark', mark, 'lookup', table],
    route: ['default', 'via', address, 'table', table],
    table,
  };
}

/** The values in the output of `nft -j list map`: the marks of the servers that remembered connections use. */
export function marksIn(json: string): number[] {
  const { nftables } = JSON.parse(json) as { nftables: { map?: { elem?: [unknown, number][] } }[] };
  return nftables.flatMap((x) => (x.map?.elem ?? []).map(([, mark]) => mark));
}
