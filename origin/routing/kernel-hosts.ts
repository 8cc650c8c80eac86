/**
 * The virtual hosts as the hooks know them (`src/routing/native/routing.bpf.c`): which addresses they are, who sends tunnels, and
 * the slots. What is more than this process can take goes by its slot in the kernel, to the member that {@link Hosts.choose}
 * would give.
 */
import { SLOTS } from '../../src/balance/slots.js';
import { KernelSet } from '../../src/fastpath/kernel-set.js';
import { writeAddress } from '../../src/fastpath/layout.js';
import { bpf } from '../../src/fastpath/native.js';
import { KernelPrefixes } from '../../src/fastpath/prefixes.js';
import { MEMBER6_VALUE, SLOT_VALUE, TABLES } from '../../src/routing/kernel-layout.js';
import { writeSource, writeSource6 } from '../../src/routing/kernel-source.js';
import type { Address } from '../../src/wire/address.js';
import type { Hosts } from './hosts.js';
import type { SlrSnapshot } from './snapshot.js';

/** Descriptors of the maps of these names. */
export interface HostHandles {
  source: number;
  hosts: number;
  routers: number;
  slots: number;
  source6: number;
  members6: number;
}

const SLOT_KEY = 4;

export class KernelHosts {
  readonly #hosts: KernelPrefixes;
  readonly #routers: KernelPrefixes;
  readonly #members6: KernelSet;
  readonly #written = new Int32Array(TABLES * SLOTS);
  readonly #keys = new Uint32Array(SLOTS);
  readonly #values = new DataView(new ArrayBuffer(SLOTS * SLOT_VALUE));

  constructor(readonly fds: HostHandles) {
    this.#hosts = new KernelPrefixes(fds.hosts);
    this.#routers = new KernelPrefixes(fds.routers);
    this.#members6 = new KernelSet(fds.members6, SLOT_VALUE, MEMBER6_VALUE);
  }

  /**
   * @param hosts as loaded from this snapshot
   * @param hostMask the bits of the tunnels' source in which they differ
   */
  load(hosts: Hosts, s: SlrSnapshot, hostMask: number): void {
    const beside = s.neighbours?.addresses ?? [];
    writeSource(this.fds.source, s.address, beside[0] ?? null, s.source.address, hostMask, hosts.seed);
    writeSource6(this.fds.source6, s.address6 ?? null, null);
    this.#loadMembers6(s);
    const alone = beside.map((address: Address) => ({ address, bits: 128 }));
    this.#routers.load([...s.uppers.flatMap((u) => u.sources), ...alone], true);
    for (let table = 0; table < Math.min(TABLES, s.tables.length); table++) this.#loadSlots(hosts, s, table);
    // Last, because from then on the tables are used.
    this.#hosts.load(
      s.hosts.map((h) => h.prefix),
      true,
      numbersOf(s),
    );
  }

  /** The addresses of IPv6 of the members that slots name by those of IPv4. */
  #loadMembers6({ members }: SlrSnapshot): void {
    const over6 = members.filter((m) => m.address6 !== undefined);
    const keys = new DataView(new ArrayBuffer(SLOT_VALUE * over6.length));
    const values = new DataView(new ArrayBuffer(MEMBER6_VALUE * over6.length));
    over6.forEach(({ address, address6 }, n) => {
      keys.setInt32(SLOT_VALUE * n, address[3]);
      writeAddress(values, MEMBER6_VALUE * n, address6!);
    });
    this.#members6.load(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), true);
  }

  /** Writes what has changed of a table. */
  #loadSlots(hosts: Hosts, { members }: SlrSnapshot, table: number): void {
    const addresses = new Map(members.map((m) => [m.number, m.address[3]]));
    let changed = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = table * SLOTS + slot;
      const member = addresses.get(hosts.memberAt(table, slot)) ?? 0;
      if (this.#written[at] === member) continue;
      this.#written[at] = member;
      this.#keys[changed] = at;
      this.#values.setInt32(changed++ * SLOT_VALUE, member);
    }
    if (changed === 0) return;
    const keys = new Uint8Array(this.#keys.buffer, 0, SLOT_KEY * changed);
    const values = new Uint8Array(this.#values.buffer, 0, SLOT_VALUE * changed);
    bpf.update(this.fds.slots, keys, SLOT_KEY, values, SLOT_VALUE, changed);
  }
}

/**
 * By host: the number of its table plus one; 0 where the hooks cannot tell it by the address alone, or have no room for its
 * table.
 */
function numbersOf({ hosts }: SlrSnapshot): number[] {
  const name = (h: (typeof hosts)[number]): string => `${h.prefix.address.join()}/${h.prefix.bits}`;
  const count = new Map<string, number>();
  for (const h of hosts) count.set(name(h), (count.get(name(h)) ?? 0) + 1);
  return hosts.map((h) => {
    const isAll = h.ports.length === 0 && h.protocols.length > 1 && count.get(name(h)) === 1;
    return isAll && h.table < TABLES ? h.table + 1 : 0;
  });
}
