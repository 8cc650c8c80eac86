/** The state of this host before a role changes anything, and the checks of `--check`. */
import { readFileSync } from 'node:fs';
import { type ErrorCode, FirstackError, type Problem } from '../errors.js';
import { format, overlaps, type Prefix, parse, parsePrefix } from '../wire/address.js';
import { readLegacy } from './legacy.js';
import { forwardDrops, type Leg, masquerades, parseRuleset, type Ruleset } from './ruleset.js';
import { command, readSysctl } from './tools.js';

export interface HostInterface {
  name: string;
  mtu: number;
  /** Whether the interface has Ethernet headers. */
  ethernet: boolean;
  /** Of IPv4, as dotted text. */
  addresses: string[];
  /** Of IPv6, in canonical form (RFC 5952). */
  addresses6?: string[];
  /** The same addresses with their prefix lengths, as `a.b.c.d/n`. */
  networks: string[];
  /** Set where an operator or a program has set the interface down. */
  isDown?: boolean;
}

export interface Host {
  interfaces: HostInterface[];
  forwarding: boolean;
  /** The same of IPv6. */
  forwarding6?: boolean;
  /** The rules of other software. */
  ruleset: Ruleset;
  /** Those of them that nft lists. */
  nft?: Ruleset;
}

/** Reads the host's state. @throws FirstackError FSA_PERMISSION, FSA_TOOL_MISSING */
export async function inspectHost(): Promise<Host> {
  requireNetAdmin();
  const links = JSON.parse(await command('ip', ['-j', 'address', 'show'])) as {
    ifname: string;
    mtu: number;
    link_type: string;
    flags: string[];
    addr_info: { family: string; local: string; prefixlen: number }[];
  }[];
  // Without the elements of named sets, which may be tens of thousands; what they match is unknown then.
  const nft = withoutOwn(parseRuleset(await command('nft', ['-j', '-t', 'list', 'ruleset'])));
  return {
    interfaces: links.map((l) => ({
      name: l.ifname,
      mtu: l.mtu,
      ethernet: l.link_type === 'ether',
      addresses: l.addr_info.filter((a) => a.family === 'inet').map((a) => a.local),
      addresses6: l.addr_info.filter((a) => a.family === 'inet6').map((a) => a.local),
      networks: l.addr_info.filter((a) => a.family === 'inet').map((a) => `${a.local}/${a.prefixlen}`),
      ...(l.flags.includes('UP') ? {} : { isDown: true }),
    })),
    ...(await unannounced(nft)),
    nft,
  };
}

/** The host as it was, with what the kernel does not announce read anew. */
export async function lookAgain(host: Host): Promise<Host> {
  return { ...host, ...(await unannounced(host.nft!)) };
}

async function unannounced(nft: Ruleset): Promise<Pick<Host, 'forwarding' | 'forwarding6' | 'ruleset'>> {
  const legacy = await readLegacy();
  return {
    forwarding: readSysctl('net.ipv4.ip_forward') === '1',
    forwarding6: forwards6(),
    ruleset: { chains: [...nft.chains, ...legacy.chains], rules: [...nft.rules, ...legacy.rules] },
  };
}

function withoutOwn({ chains, rules }: Ruleset): Ruleset {
  const isOthers = ({ table }: { table: string }): boolean => !table.startsWith('firstack_');
  return { chains: chains.filter(isOthers), rules: rules.filter(isOthers) };
}

const CAP_NET_ADMIN = 12n;

function requireNetAdmin(): void {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  if (((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 0n)
    throw new FirstackError(
      'FSA_PERMISSION',
      'CAP_NET_ADMIN is needed (run as root, or grant it to the service)',
    );
}

/** Problems of the host, as opposed to those of a file or a record. */
const OF_HOST: readonly ErrorCode[] = [
  'FSA_INTERFACE_MISSING',
  'FSA_INTERFACE_DOWN',
  'FSA_ADDRESS_NOT_LOCAL',
  'FSA_FORWARDING_OFF',
  'FSA_FORWARD_DROPS',
  'FSA_MASQUERADE',
  'FSA_SERVER_NOT_ADJACENT',
];

/** Whether a problem is one of the host. */
export const isOfHost = (code: ErrorCode): boolean => OF_HOST.includes(code);

export function checkInterfaces(host: Host, names: readonly string[], key: string): Problem[] {
  return names
    .filter((name) => !host.interfaces.some((i) => i.name === name))
    .map((name) => ({
      code: 'FSA_INTERFACE_MISSING',
      message: `${key}: there is no interface '${name}' (there are: ${host.interfaces.map((i) => i.name).join(', ')})`,
    }));
}

/** Of a running role: at its start an interface may still be down. */
export function checkInterfacesUp(host: Host, names: readonly string[], key: string): Problem[] {
  return host.interfaces
    .filter((i) => i.isDown === true && names.includes(i.name))
    .map(({ name }) => ({
      code: 'FSA_INTERFACE_DOWN',
      message: `${key}: interface '${name}' is down, and its routes are gone (ip link set ${name} up)`,
    }));
}

/** A kernel without IPv6 has no such setting. */
function forwards6(): boolean {
  try {
    return readSysctl('net.ipv6.conf.all.forwarding') !== '0';
  } catch {
    return false;
  }
}

export function checkForwarding6(host: Host): Problem[] {
  return host.forwarding6 === true
    ? []
    : [
        {
          code: 'FSA_FORWARDING_OFF',
          message:
            'net.ipv6.conf.all.forwarding is 0: this host would not forward what the role sends (sysctl -w net.ipv6.conf.all.forwarding=1)',
        },
      ];
}

export function checkForwarding(host: Host): Problem[] {
  return host.forwarding
    ? []
    : [
        {
          code: 'FSA_FORWARDING_OFF',
          message:
            'net.ipv4.ip_forward is 0: this host would not forward what the role sends (sysctl -w net.ipv4.ip_forward=1)',
        },
      ];
}

export function checkForwardChains(host: Host, legs: readonly Leg[]): Problem[] {
  return droppedLegs(host, legs).map(({ chain, reason, legs: dropped, remedies }) => ({
    code: 'FSA_FORWARD_DROPS',
    message: `the forward chain ${chain}: ${reason}, so ${dropped.join(', ')} would not pass (${remedies.join('; ')})`,
  }));
}

/** By chain: the legs that it would drop, and the commands that let them pass. */
export function droppedLegs(
  host: Host,
  legs: readonly Leg[],
): { chain: string; reason: string; legs: string[]; remedies: string[] }[] {
  const said = new Map<string, { chain: string; reason: string; legs: string[]; remedies: string[] }>();
  for (const leg of legs)
    for (const { chain, reason, remedy } of forwardDrops(host.ruleset, leg)) {
      const known = said.get(chain) ?? { chain, reason, legs: [], remedies: [] };
      // A chain of family inet drops packets of both families, for one reason.
      const which = `${leg.iif} → ${leg.oif}`;
      if (!known.legs.includes(which)) known.legs.push(which);
      if (!known.remedies.includes(remedy)) known.remedies.push(remedy);
      said.set(chain, known);
    }
  return [...said.values()];
}

export function checkMasquerade(host: Host, wan: readonly string[], clients: readonly Prefix[]): Problem[] {
  return wan.flatMap((oif) =>
    masquerades(host.ruleset, oif, clients).map(
      (where): Problem => ({
        code: 'FSA_MASQUERADE',
        message: `${where} translates sources on ${oif}: replicas would answer an address that never asked (an origin race needs routable clients)`,
      }),
    ),
  );
}

export function checkLocalAddress(host: Host, address: string, mend: string): Problem[] {
  const words = parse(address);
  const text = words === undefined ? address : format(words);
  return host.interfaces.some((i) => [...i.addresses, ...(i.addresses6 ?? [])].includes(text))
    ? []
    : [{ code: 'FSA_ADDRESS_NOT_LOCAL', message: `${address} is not an address of this host: ${mend}` }];
}

/** A packet can be sent unencapsulated only to a server on one of these networks. */
export function checkAdjacent(host: Host, names: readonly string[], address: string): Problem[] {
  const networks = host.interfaces.filter((i) => names.includes(i.name)).flatMap((i) => i.networks);
  const own = parsePrefix(`${address}/32`) as Prefix;
  return networks.some((n) => overlaps(parsePrefix(n) as Prefix, own))
    ? []
    : [
        {
          code: 'FSA_SERVER_NOT_ADJACENT',
          message: `server ${address} is on no network of ${names.join(', ')}: a remote server runs the replica role (servers: [{replica: ID}])`,
        },
      ];
}

/** The least MTU of the interfaces; 1500 when none is known. */
export function leastMtu(host: Host, names: readonly string[]): number {
  const mtus = host.interfaces.filter((i) => names.includes(i.name)).map((i) => i.mtu);
  return mtus.length === 0 ? 1500 : Math.min(...mtus);
}
