/** What the control half tells the data half, made from what is known now. */
import type { Upper } from '../../src/routing/hello-client.js';
import type { Member } from '../../src/routing/hello-server.js';
import { prefixOf } from '../../src/routing/virtual.js';
import { type Address, type Prefix, parse } from '../../src/wire/address.js';
import { PROTO_TCP, PROTO_UDP } from '../../src/wire/ipv4.js';
import type { SlrConfig } from './config.js';
import { preferencesOf, type Standing } from './costs.js';
import type { MemberNumbers } from './member-numbers.js';
import type { SlrSnapshot } from './snapshot.js';

export interface KnownNow {
  config: SlrConfig;
  /** The sources of this router's tunnels of IPv4. */
  source: string;
  /** Of the routers of this level, 16 bytes; undefined for a router without others. */
  levelKey: number[] | undefined;
  numbers: MemberNumbers;
  members: readonly Member[];
  /** By virtual host. */
  standings: ReadonlyMap<string, readonly Standing[]>;
  /** By place; undefined for one that was never there. */
  uppers: readonly (Upper | undefined)[];
}

const words = (text: string): Address => parse(text) as Address;

/** A snapshot's field of an address of IPv6, where there is one. */
const address6In = ({ address6 }: { address6?: string }): { address6?: Address } =>
  address6 === undefined ? {} : { address6: words(address6) };

export function makeSnapshot(known: KnownNow): SlrSnapshot {
  const { config, source, levelKey, numbers, members, standings, uppers } = known;
  const usable = new Set([...standings.values()].flat().flatMap((s) => (s.leftOut === '' ? [s.id] : [])));
  const tables: SlrSnapshot['tables'] = [];
  const places = new Map<string, number>();
  const tableOf = (name: string): number => {
    const table = preferencesOf(standings.get(name)!);
    if (table.length === 0) return -1;
    const text = JSON.stringify(table);
    if (!places.has(text))
      places.set(text, tables.push(table.map(({ id, ...t }) => ({ ...t, member: numbers.of(id) }))) - 1);
    return places.get(text)!;
  };
  return {
    address: words(config.address),
    ...address6In(config),
    source: prefixOf(source),
    hosts: config.virtual.map(({ name, subnet, protocols, ports }) => ({
      prefix: prefixOf(subnet),
      protocols: protocols.map((p) => (p === 'tcp' ? PROTO_TCP : PROTO_UDP)),
      ports,
      table: tableOf(name),
    })),
    tables,
    ...(levelKey === undefined
      ? {}
      : { neighbours: { addresses: config.neighbours.map(words), key: levelKey } }),
    members: members.map((m) => ({
      number: numbers.of(m.id),
      address: words(m.address),
      ...address6In(m),
      targets: m.authority.targets as Prefix[],
      key: [...m.key],
      isUsable: usable.has(m.id),
    })),
    // By place: flows name a router above by it. One whose session is lost may still send.
    uppers: uppers.map((u) => ({
      address: words(u?.address ?? '0.0.0.0'),
      ...address6In(u ?? {}),
      sources: (u?.sources ?? []).map(prefixOf),
      key: u === undefined ? Array<number>(16).fill(0) : [...u.key],
    })),
  };
}
