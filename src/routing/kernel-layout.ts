/** The maps and hooks of service-level routing in the kernel, with the layout of `native/routing.bpf.c`. */
import { SLOTS } from '../balance/slots.js';
import { CLIENT_KEY, CLIENT_VALUE } from '../fastpath/layout.js';
import { commonMaps, type HookSet, type MapShape } from '../fastpath/maps.js';
import { ARRAY, LPM_TRIE, NO_PREALLOC } from '../fastpath/native.js';
import { layoutOf } from '../layout.js';

/** Layout of `struct source`, in bytes. */
export const source = layoutOf({ address: 16, hostMask: 4, self: 4, fallback: 4, seed: 4 });

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
  ],
  handles: { slr_in: '0x1', server_in: '0x2' },
});

/** The mode of a flow in the kernel: into a tunnel of protocol 4. */
export const TUNNEL = 1;
