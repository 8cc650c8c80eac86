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
  keys: { id: number; words: number[] }[];
}

export const GENUINE = 0;
export const FOREIGN = 1;
export const STALE = 2;
export const FORGED = 3;
/** The results of {@link Keyring.check}. */
export type TagVerdict = typeof GENUINE | typeof FOREIGN | typeof STALE | typeof FORGED;

export class Keyring {
  readonly #gateways = new Map<number, { prefixes: Prefix[]; keys: (SipKey | undefined)[]; least: number }>();
  #epoch = 0;

  constructor() {
    this.tick();
  }

  load(gateways: readonly KeyringGateway[]): void {
    this.#gateways.clear();
    for (const g of gateways) {
      const keys = new Array<SipKey | undefined>(16).fill(undefined);
      for (const k of g.keys) keys[k.id] = Int32Array.from(k.words);
      this.#gateways.set(g.id, { prefixes: g.prefixes, keys, least: g.leastVersion ?? tag.VERSION });
    }
  }

  /** A gateway's key, where it is known. */
  keyOf(gatewayId: number, keyId: number): SipKey | undefined {
    return this.#gateways.get(gatewayId)?.keys[keyId & 15];
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

  /** Judges the tag at `p` of the SYN at `at`, whose TCP header is at `l4`. */
  check(view: DataView, at: number, l4: number, p: number): TagVerdict {
    const version = tag.version(view, p);
    if (version > tag.WHOLE_EPOCH || !tag.redirectionPermitted(view, p)) return FOREIGN;
    const gateway = this.#gateways.get(tag.gatewayId(view, p));
    if (gateway === undefined || version < gateway.least || !coversSource(gateway.prefixes, view, at))
      return FOREIGN;
    if (!tag.isFresh(view, p, this.#epoch)) return STALE;
    const key = gateway.keys[tag.keyId(view, p)];
    return key !== undefined && tag.isAuthentic(view, at, l4, p, key, this.#epoch) ? GENUINE : FORGED;
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
