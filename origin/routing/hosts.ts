/**
 * The virtual hosts, and the slots by which each chooses a member: a hash of the flow, the same at every router with the
 * same members, weights and seed.
 */
import { fillSlots, SLOTS } from '../../src/balance/slots.js';
import { PrefixTable } from '../../src/flow/prefix-table.js';
import { KEY_SERVICE, keyDport, keyProtocol, keySport } from '../../src/flow/table.js';
import type { Batch } from '../../src/pipeline/batch.js';
import { V4_MAPPED } from '../../src/wire/address.js';
import { NONE } from './flows.js';
import type { MemberNumber, SlrSnapshot } from './snapshot.js';

export class Hosts {
  readonly #prefixes = new PrefixTable();
  /** 0 for all protocols. */
  #protocols: Uint8Array = new Uint8Array(0);
  #ports: Uint16Array[] = [];
  /** The next host of the same prefix, or -1. */
  #next: Int32Array = new Int32Array(0);
  /** The place of the host's table of slots, or -1. */
  #table: Int32Array = new Int32Array(0);
  #tables: Uint16Array[] = [];
  #tableTexts: string[] = [];
  #h = 0;

  constructor(readonly seed: number) {}

  load({ hosts, tables }: SlrSnapshot): void {
    const known = new Map(this.#tableTexts.map((text, n) => [text, this.#tables[n]]));
    this.#tableTexts = tables.map((t) => JSON.stringify(t));
    this.#tables = tables.map(
      (t, n) =>
        known.get(this.#tableTexts[n]) ?? Uint16Array.from(fillSlots(t), (place) => t[place]?.member ?? NONE),
    );
    const last = new Map<string, number>();
    this.#next = new Int32Array(hosts.length).fill(-1);
    hosts.forEach(({ prefix }, n) => {
      const name = `${prefix.address.join()}/${prefix.bits}`;
      this.#next[n] = last.get(name) ?? -1;
      last.set(name, n);
    });
    this.#prefixes.load(hosts.map(({ prefix }, value) => ({ prefix, value })));
    this.#protocols = Uint8Array.from(hosts, (h) => (h.protocols.length > 1 ? 0 : h.protocols[0]));
    this.#ports = hosts.map((h) => Uint16Array.from(h.ports));
    this.#table = Int32Array.from(hosts, (h) => h.table);
  }

  /** By virtual host: how many slots each member has, by its number. */
  slots(): Record<number, number>[] {
    return [...this.#table].map((table) => {
      const count: Record<number, number> = {};
      if (table >= 0) for (const m of this.#tables[table]) count[m] = (count[m] ?? 0) + 1;
      return count;
    });
  }

  /** The member that a table's slot belongs to, or {@link NONE}. */
  memberAt(table: number, slot: number): MemberNumber {
    return this.#tables[table][slot] as MemberNumber;
  }

  /** The virtual host to which packet `i` is sent, or -1. */
  of(batch: Batch, i: number): number {
    return this.ofWords(batch.daddr, 4 * i, batch.dport[i], batch.protocol[i]);
  }

  /** The virtual host at an IPv4 address and port, or -1. */
  at(address: number, port: number, protocol: number): number {
    this.#v4[3] = address;
    return this.ofWords(this.#v4, 0, port, protocol);
  }
  readonly #v4 = Int32Array.of(0, 0, V4_MAPPED, 0);

  /** The virtual host at a port of the address whose four words begin at `words[at]`, or -1. */
  ofWords(words: Int32Array, at: number, port: number, protocol: number): number {
    let host = this.#prefixes.find(words, at);
    for (; host >= 0; host = this.#next[host]) {
      if (this.#protocols[host] !== 0 && this.#protocols[host] !== protocol) continue;
      const ports = this.#ports[host];
      if (ports.length === 0 || ports.includes(port)) return host;
    }
    return -1;
  }

  /** The member for packet `i` by its slot, or {@link NONE}. */
  choose(batch: Batch, i: number, host: number): MemberNumber {
    const table = this.#table[host];
    if (table < 0) return NONE;
    this.#begin(batch.sport[i], batch.dport[i], batch.protocol[i]);
    for (let w = 0; w < 4; w++) this.#mix(batch.saddr[4 * i + w], batch.daddr[4 * i + w]);
    return this.#slot(table);
  }

  /** {@link choose} for a flow's key ({@link FlowTable.key}). */
  memberOf(key: Int32Array): MemberNumber {
    const host = this.ofWords(key, KEY_SERVICE, keyDport(key), keyProtocol(key));
    const table = host < 0 ? -1 : this.#table[host];
    if (table < 0) return NONE;
    this.#begin(keySport(key), keyDport(key), keyProtocol(key));
    for (let w = 0; w < 4; w++) this.#mix(key[w], key[KEY_SERVICE + w]);
    return this.#slot(table);
  }

  #begin(sport: number, dport: number, protocol: number): void {
    this.#h = mix(this.seed ^ ((sport << 16) | dport), protocol);
  }
  #mix(source: number, destination: number): void {
    this.#h = mix(mix(this.#h, source), destination);
  }
  #slot(table: number): MemberNumber {
    let h = this.#h;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return this.#tables[table][((h ^ (h >>> 16)) >>> 0) % SLOTS] as MemberNumber;
  }
}

function mix(h: number, word: number): number {
  const k = Math.imul(word, 0xcc9e2d51);
  const m = h ^ Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  return (Math.imul((m << 13) | (m >>> 19), 5) + 0xe6546b64) | 0;
}
