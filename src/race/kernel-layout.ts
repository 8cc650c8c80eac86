/**
 * The race's own maps in the kernel, with the layout of `native/openings.h`; a test compares these offsets with the
 * compiled object's. And the race's hooks: one set at a gateway, one at a replica.
 */
import { FLOW_KEY } from '../fastpath/layout.js';
import { commonMaps, type HookSet } from '../fastpath/maps.js';
import { ARRAY, LRU_HASH, MMAPABLE } from '../fastpath/native.js';
import { layoutOf } from '../layout.js';

/** Layout of `struct winner`, in bytes. `candidate` is the number of the machine. */
export const winner = layoutOf({ target: 16, untilNs: 8, candidate: 4, port: 2, reserved: 2 });
/** Layout of `struct opening`. */
export const opening = layoutOf({
  key: FLOW_KEY,
  sentNs: 8,
  answeredNs: 8,
  isn: 4,
  candidate: 4,
  length: 4,
  ticket: 4,
  syn: 80,
});
/** Layout of `struct tickets`. */
export const tickets = layoutOf({ head: 8, done: 8 });

/** Slots for connections that the kernel opened; a power of two. */
export const OPENINGS = 4096;
/** The most prefixes of which the kernel may open connections by itself; the ones that were used last stay. */
const MAX_LEASES = 131_072;

/** The race's hooks. @param maxFlows the most flows that are pinned at once */
export const hookSet = (maxFlows: number): HookSet => ({
  object: 'race',
  maps: [
    ...commonMaps(maxFlows),
    {
      name: 'leases',
      type: LRU_HASH,
      key: FLOW_KEY,
      value: winner.stride,
      entries: MAX_LEASES,
      isFresh: true,
    },
    { name: 'openings', type: ARRAY, key: 4, value: opening.stride, entries: OPENINGS, flags: MMAPABLE },
    { name: 'tickets', type: ARRAY, key: 4, value: tickets.stride, entries: 1, flags: MMAPABLE },
  ],
  handles: {
    gateway_lan: '0x1',
    gateway_wan: '0x2',
    gateway_tun: '0x3',
    replica_in: '0x1',
    replica_out: '0x2',
  },
});
