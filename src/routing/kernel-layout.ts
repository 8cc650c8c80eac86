/** The maps and hooks of service-level routing in the kernel, with the layout of `native/routing.bpf.c`. */
import { SLOTS } from '../balance/slots.js';
import { CLIENT_KEY, CLIENT_VALUE } from '../fastpath/layout.js';
import { type Attachment, commonMaps, type HookSet, type MapShape } from '../fastpath/maps.js';
import { ARRAY, HASH, LPM_TRIE, NO_PREALLOC } from '../fastpath/native.js';
import { layoutOf } from '../layout.js';
import type { Host } from '../steer/host.js';

/** Layout of `struct source`, in bytes. */
export const source = layoutOf({ address: 16, hostMask: 4, self: 4, fallback: 4, seed: 4 });

/** Layout of `struct source6`. */
export const source6 = layoutOf({ self: 16, fallback: 16 });
/** Bytes of a member's address of IPv6, and the most members that have one. */
export const MEMBER6_VALUE = 16;
const MOST_MEMBERS6 = 16_384;

/** Tables of slots that the hooks know, and bytes of a slot: the member's IPv4 address. */
export const TABLES = 16;
export const SLOT_VALUE = 4;
/** Layout of `struct window`. */
const window = layoutOf({ since: 8, used: 4, reserved: 4 });

/** The most prefixes of virtual hosts at a server, and of routers above it. */
export const MOST_PREFIXES = 1024;

const prefixes = (name: string): MapShape => ({
  name,
  type: LPM_TRIE,
  key: CLIENT_KEY,
  value: CLIENT_VALUE,
  entries: MOST_PREFIXES,
  flags: NO_PREALLOC,
});

/** @param maxFlows the most flows that are pinned at once */
export const hookSet = (maxFlows: number): HookSet => ({
  object: 'routing',
  maps: [
    ...commonMaps(maxFlows),
    { name: 'source', type: ARRAY, key: 4, value: source.stride, entries: 1, isFresh: true },
    prefixes('hosts'),
    prefixes('routers'),
    { name: 'slots', type: ARRAY, key: 4, value: SLOT_VALUE, entries: TABLES * SLOTS, isFresh: true },
    { name: 'window', type: ARRAY, key: 4, value: window.stride, entries: 1, isFresh: true },
    { name: 'source6', type: ARRAY, key: 4, value: source6.stride, entries: 1, isFresh: true },
    {
      ...{ name: 'members6', type: HASH, key: SLOT_VALUE, value: MEMBER6_VALUE },
      ...{ entries: MOST_MEMBERS6, flags: NO_PREALLOC, isFresh: true },
    },
  ],
  handles: { slr_in: '0x1', server_in: '0x2', slr_in6: '0x3', server_in6: '0x4' },
});

/**
 * Attaches a hook to interfaces' arriving packets, and its twin of IPv6, whose name ends in 6, where that is wanted.
 * @param hook 'slr_in' or 'server_in'
 */
export function hookAttachments(
  host: Pick<Host, 'interfaces'>,
  names: readonly string[],
  hook: string,
  hasV6: boolean,
): Attachment[] {
  return names.flatMap((name) => {
    const ethernet = host.interfaces.find((i) => i.name === name)?.ethernet !== false;
    const at = { interface: name, direction: 'ingress' as const, ethernet };
    return [{ ...at, hook }, ...(hasV6 ? [{ ...at, hook: `${hook}6`, ipv6: true }] : [])];
  });
}

/** The mode of a flow in the kernel: into a tunnel of its own family. */
export const TUNNEL = 1;
