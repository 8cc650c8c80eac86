/** What the control half of a service-level router tells its data half. */
import type { Preference } from '../../src/balance/slots.js';
import type { Address, Prefix } from '../../src/wire/address.js';

declare const brand: unique symbol;
/** Number of a member of the next lower level, the same as long as it is known. */
export type MemberNumber = number & { readonly [brand]: 'member' };

export interface SlrSnapshot {
  /** Where tunnels to this router end. */
  address: Address;
  /** Where tunnels of IPv6 to it end, and whence its own come; undefined where it has none. */
  address6?: Address;
  /** The sources of its own tunnels of IPv4. */
  source: Prefix;
  hosts: {
    prefix: Prefix;
    /** Protocol numbers. */
    protocols: number[];
    /** None: all. */
    ports: number[];
    /** Which of {@link tables} chooses; -1 where no member is available. */
    table: number;
  }[];
  /** The members that may get new connections, with their preferences for slots. */
  tables: (Preference & { member: MemberNumber })[][];
  members: {
    number: MemberNumber;
    address: Address;
    address6?: Address;
    /** Where it, and what is below it, may end tunnels. */
    targets: Prefix[];
    /** The key of its session, 16 bytes. */
    key: number[];
    /** Whether it may get new connections for some host. */
    isUsable: boolean;
  }[];
  /** The other routers of this level, and the level's key; absent where there are none. */
  neighbours?: { addresses: Address[]; key: number[] };
  uppers: {
    address: Address;
    address6?: Address;
    sources: Prefix[];
    key: number[];
  }[];
}
