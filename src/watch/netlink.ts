/**
 * Hears from the kernel what changes on this host: links, addresses, routes, rules and tc (rtnetlink(7)), and who
 * changed nftables rules (the new generation's process, `linux/netfilter/nf_tables.h`). It carries no details besides:
 * whoever listens looks at the host itself, because several changes are one look.
 */
import { closeSync, readSync } from 'node:fs';
import { native } from '../device/native.js';

const NETLINK_ROUTE = 0;
const NETLINK_NETFILTER = 12;
/** RTMGRP_LINK, RTMGRP_TC; RTMGRP_IPV4_IFADDR, _ROUTE and _RULE; RTMGRP_IPV6_IFADDR and _ROUTE; RTNLGRP_IPV6_RULE, 19. */
const ROUTE_GROUPS = 0x1 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << 18);
/** NFNLGRP_NFTABLES is group 7. */
const NFTABLES_GROUP = 1 << 6;

const HEADER = 16;
/** nfgenmsg behind the header. */
const FAMILY_HEADER = 4;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWGEN = 15;
const NFTA_GEN_PROC_PID = 2;
const NFTA_GEN_PROC_NAME = 3;
const ROOM = 1 << 16;

/** A process that committed a change of nftables rules. */
export interface Author {
  pid: number;
  name: string;
}

export interface NetlinkEvents {
  /** A link, address, route, rule, or tc object was made, changed or removed. */
  changed(): void;
  /** nftables rules changed. `by` is undefined where messages were lost. */
  ruleset(by: Author | undefined): void;
}

export class Netlink {
  readonly #open: { fd: number; watch: number }[] = [];
  readonly #buffer = new Uint8Array(ROOM);

  /** @throws an Error with the kernel's `code` when a socket cannot be opened */
  constructor(readonly events: NetlinkEvents) {
    this.#listen(NETLINK_ROUTE, ROUTE_GROUPS, () => events.changed());
    this.#listen(NETLINK_NETFILTER, NFTABLES_GROUP, (bytes) => {
      if (bytes === undefined) events.ruleset(undefined);
      else for (const by of authorsIn(bytes)) events.ruleset(by);
    });
  }

  /** @param heard gets each datagram; undefined when the kernel had to drop some */
  #listen(protocol: number, groups: number, heard: (bytes: Uint8Array | undefined) => void): void {
    const fd = native.openNetlink(protocol, groups);
    const watch = native.watch(fd, () => {
      for (;;) {
        try {
          const got = readSync(fd, this.#buffer);
          heard(this.#buffer.subarray(0, got));
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          if (code !== 'ENOBUFS') return;
          heard(undefined);
        }
      }
    });
    this.#open.push({ fd, watch });
  }

  close(): void {
    for (const { fd, watch } of this.#open.splice(0)) {
      native.unwatch(watch);
      closeSync(fd);
    }
  }
}

/** The processes that committed the changes in a datagram of nftables messages. */
export function authorsIn(bytes: Uint8Array): Author[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const authors: Author[] = [];
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER || at + length > bytes.length) break;
    if (view.getUint16(at + 4, true) === ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWGEN))
      authors.push(authorOf(bytes, view, at + HEADER + FAMILY_HEADER, at + length));
    at += (length + 3) & ~3;
  }
  return authors;
}

function authorOf(bytes: Uint8Array, view: DataView, from: number, to: number): Author {
  const author: Author = { pid: 0, name: '' };
  for (let at = from; at + 4 <= to; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > to) break;
    const type = view.getUint16(at + 2, true);
    if (type === NFTA_GEN_PROC_PID && length >= 8) author.pid = view.getUint32(at + 4);
    if (type === NFTA_GEN_PROC_NAME)
      author.name = Buffer.from(bytes.subarray(at + 4, at + length))
        .toString('latin1')
        .replace(/\0.*$/s, '');
    at += (length + 3) & ~3;
  }
  return author;
}
