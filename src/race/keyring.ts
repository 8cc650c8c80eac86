/** Decides whether a tag is genuine: the receiver's steps 1 to 5 of `src/wire/SPEC.md`, for origin and replica. */
import { wallMs } from '../device/wall-clock.js';
import { type Prefix, V4_MAPPED, wordMask } from '../wire/address.js';
import { isV6 } from '../wire/ip.js';
import * as ipv4 from '../wire/ipv4.js';
import * as ipv6 from '../wire/ipv6.js';
import type { SipKey } from '../wire/siphash.js';
import * as tag from '../wire/tag.js';

export interface KeyringGateway {
  id: number;
  prefixes: Prefix[];
  /** The least version of its tags that counts. */
  leastVersion?: number;
  /** The words of each live key, by key id. */
  keys: KeyWords[];
  /** The keys of the pair of this gateway and the machine that reads its tags: for version 3. */
  pairs?: readonly KeyWords[];
}

export interface KeyWords {
  id: number;
  words: readonly number[];
}

/** The keys of pairs: a few, of which two may have the same number. */
export interface PairedKey {
  id: number;
  key: SipKey;
}
const pairedKeys = (list: readonly KeyWords[]): PairedKey[] =>
  list.map(({ id, words }) => ({ id, key: Int32Array.from(words) }));
const NONE: readonly PairedKey[] = [];

interface Sender {
  prefixes: Prefix[];
  keys: (SipKey | undefined)[];
  least: number;
  pairs: readonly PairedKey[];
}

export const GENUINE = 0;
export const FOREIGN = 1;
export const STALE = 2;
export const FORGED = 3;
/** The results of {@link Keyring.check}. */
export type TagVerdict = typeof GENUINE | typeof FOREIGN | typeof STALE | typeof FORGED;

export class Keyring {
  /** The present one. */
  get epoch(): number {
    return this.#epoch;
  }
  readonly #gateways = new Map<number, Sender>();
  /** By service number: the keys of the pairs of its origins and this machine. */
  #origins: readonly (readonly PairedKey[])[] = [];
  #epoch = 0;

  constructor() {
    this.tick();
  }

  /** @param origins by service number, at a replica: the keys with which its origins make tags for this machine */
  load(gateways: readonly KeyringGateway[], origins: readonly (readonly KeyWords[])[] = []): void {
    this.#origins = origins.map(pairedKeys);
    this.#gateways.clear();
    for (const g of gateways) {
      const keys = new Array<SipKey | undefined>(16).fill(undefined);
      for (const k of g.keys) keys[k.id] = Int32Array.from(k.words);
      const least = g.leastVersion ?? tag.VERSION;
      this.#gateways.set(g.id, { prefixes: g.prefixes, keys, least, pairs: pairedKeys(g.pairs ?? []) });
    }
  }

  /** A gateway's key, where it is known. */
  keyOf(gatewayId: number, keyId: number): SipKey | undefined {
    return this.#gateways.get(gatewayId)?.keys[keyId & 15];
  }

  /** The keys that a gateway shares with this machine alone. */
  pairsOf(gatewayId: number): readonly PairedKey[] {
    return this.#gateways.get(gatewayId)?.pairs ?? NONE;
  }

  /** Whether the IPv4 address is a client's of any gateway. */
  isClient(v4: number): boolean {
    for (const { prefixes } of this.#gateways.values()) if (covers(prefixes, v4)) return true;
    return false;
  }

  /** Updates the epoch from the wall clock; call it several times per epoch. */
  tick(): void {
    this.#epoch = tag.epochOf(wallMs() / 1000);
  }

  /**
   * Judges the tag at `p` of the SYN at `at`, whose TCP header is at `l4`.
   * @param service to which the SYN goes
   */
  check(view: DataView, at: number, l4: number, p: number, service: number): TagVerdict {
    const version = tag.version(view, p);
    if (version > tag.PAIRED || !tag.redirectionPermitted(view, p)) return FOREIGN;
    const gateway = this.#gateways.get(tag.gatewayId(view, p));
    if (gateway === undefined || version < gateway.least || !coversSource(gateway.prefixes, view, at))
      return FOREIGN;
    if (!tag.isFresh(view, p, this.#epoch)) return STALE;
    if (version === tag.PAIRED) {
      const pairs = tag.isRelayed(view, p) ? (this.#origins[service] ?? NONE) : gateway.pairs;
      if (pairs.length === 0) return FOREIGN;
      return this.#isOfPair(view, at, l4, p, pairs) ? GENUINE : FORGED;
    }
    const key = gateway.keys[tag.keyId(view, p)];
    return key !== undefined && tag.isAuthentic(view, at, l4, p, key, this.#epoch) ? GENUINE : FORGED;
  }

  #isOfPair(view: DataView, at: number, l4: number, p: number, pairs: readonly PairedKey[]): boolean {
    const id = tag.keyId(view, p);
    for (let k = 0; k < pairs.length; k++)
      if (pairs[k].id === id && tag.isAuthentic(view, at, l4, p, pairs[k].key, this.#epoch)) return true;
    return false;
  }
}

/** Whether one of the prefixes has the source of the packet at `at`. */
function coversSource(prefixes: Prefix[], view: DataView, at: number): boolean {
  if (!isV6(view, at)) return covers(prefixes, ipv4.saddr(view, at));
  for (let i = 0; i < prefixes.length; i++) {
    const { address, bits } = prefixes[i];
    let differs = 0;
    for (let w = 0; w < 4; w++)
      differs |= (address[w] ^ view.getInt32(at + ipv6.SADDR + 4 * w)) & wordMask(bits, w);
    if (differs === 0) return true;
  }
  return false;
}

function covers(prefixes: Prefix[], v4: number): boolean {
  for (let i = 0; i < prefixes.length; i++) {
    const { address, bits } = prefixes[i];
    if (((address[3] ^ v4) & wordMask(bits, 3)) === 0 && address[2] === V4_MAPPED && bits >= 96) return true;
  }
  return false;
}
