/**
 * Which of several adjacent servers a connection goes to, as text for the kernel: a hash of the connection leads to a
 * slot, the slot to a server's mark, an `ip rule` on it to a routing table whose only route goes by that server. Where a
 * connection's SYN went is remembered, so that the rest of it follows through changes of the slots.
 *
 * In a table of its own, which changes without losing what it remembers, and goes on without its process.
 */
import { interfaces, tableName } from './plan.js';

export interface NextHops {
  wan: readonly string[];
  tun: string;
  /** Bits of the mark that number the servers; of packets to them, the whole mark is set. */
  mask: number;
  /** What steers a SYN to the TUN as well. */
  steer: { mark: number; mask: number };
  /** Routing table of server 1; that of server 2 is the next one, and so on. */
  table: number;
  priority: number;
  seed: number;
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  /** The servers' own addresses on the LAN. */
  servers: readonly string[];
  services: readonly { address: string; port: number; slots: Int32Array }[];
}

/** The name of the table that remembers. */
export function nextHopsTable(instance: string): string {
  return `${tableName(instance)}_servers`;
}

/** As many servers as the mask's bits can number, 0 being none. */
export function mostServers(mask: number): number {
  return (mask >>> 0) / lowest(mask);
}

const lowest = (mask: number): number => (mask & -mask) >>> 0;
const hex = (n: number): string => `0x${(n >>> 0).toString(16)}`;
const seconds = (ms: number): string => `${Math.ceil(ms / 1000)}s`;
/** The mark of a server's number. */
export const markOf = (mask: number, number: number): number => number * lowest(mask);

const FLOW = 'ip saddr . tcp sport . ip daddr . tcp dport';
const SYN = 'tcp flags & (syn | ack | rst) == syn';
/** After the role's own table has looked. */
const PRIORITY = -290;

/**
 * For `nft -f`: makes the table where it is not there, and replaces its rules, in one transaction.
 * @param numbers of the servers, by address
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
      // A SYN passes by here twice: on its way to the role, and when the role lets it go on.
      `${from([n.tun])} ${to} ${SYN} jump ${chains[i]}`,
      `${from(n.wan)} ${to} ${SYN} jump ${chains[i]}`,
      `${from(n.wan)} ${to} ${SYN} meta mark set meta mark & ${hex(~n.steer.mask)} | ${hex(n.steer.mark)} accept`,
      `${from(n.wan)} ${to} tcp flags & (fin | rst) != 0 meta mark set ${FLOW} map @flows ${remember(n.flows.closingTimeoutMs)} accept`,
      `${from(n.wan)} ${to} meta mark set ${FLOW} map @flows ${remember(n.flows.establishedTimeoutMs)} accept`,
      // Unknown: begun before there were several, or forgotten.
      `${from(n.wan)} ${to} jump ${chains[i]}`,
    ];
  });
  const choices = served.flatMap((service, i) => [
    `flush chain ${table} ${chains[i]}`,
    `add rule ${table} ${chains[i]} meta mark set jhash ${FLOW} mod ${service.slots.length} seed ${hex(n.seed)} map { ${slotElements(n, service.slots, numbers)} }`,
    // An update would leave an old connection's server there.
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

/** One server's rule and its table's only route, as `ip rule` and `ip route` take them. */
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

/** The marks that `nft -j list map` shows as values: of the servers to which connections are remembered to have gone. */
export function marksIn(json: string): number[] {
  const { nftables } = JSON.parse(json) as { nftables: { map?: { elem?: [unknown, number][] } }[] };
  return nftables.flatMap((x) => (x.map?.elem ?? []).map(([, mark]) => mark));
}
