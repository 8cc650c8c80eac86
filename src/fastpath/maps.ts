/** The shapes of the kernel's maps that a program's hooks use, and the maps that all programs have in common. */
import {
  AWAKE,
  CLIENT_KEY,
  CLIENT_VALUE,
  ENDPOINT_KEY,
  ENDPOINT_VALUE,
  FLOW_KEY,
  FLOW_VALUE,
  PATH_KEY,
  PATH_VALUE,
  SETTINGS,
  TOTALS,
} from './layout.js';
import { ARRAY, HASH, LPM_TRIE, NO_PREALLOC, PERCPU_ARRAY } from './native.js';

export interface MapShape {
  /** The map's name in the hooks' object. */
  name: string;
  type: number;
  /** In bytes. */
  key: number;
  value: number;
  entries: number;
  flags?: number;
  /** The map is always made anew, never taken over from a predecessor. */
  isFresh?: boolean;
}

/** An interface to which a hook is attached, and the direction of its packets. */
export interface Attachment {
  interface: string;
  direction: 'ingress' | 'egress';
  hook: string;
  /** Whether the interface has Ethernet headers. */
  ethernet: boolean;
  /** For packets of IPv6; without it for those of IPv4. */
  ipv6?: boolean;
}

/** A program's hooks, as its control half declares them. */
export interface HookSet {
  /** The program's name, which is the name of its object, `dist/bpf/NAME.bpf.o`. */
  object: string;
  maps: readonly MapShape[];
  /** Filter handles by hook: two hooks on one interface run in the order of their handles. */
  handles: Readonly<Record<string, string>>;
}

export const MAX_ENDPOINTS = 65_536;
export const MAX_CLIENTS = 4096;
/** The most paths whose MTU the hooks know: those that are narrower than this host's interfaces. */
export const MAX_PATHS = 4096;

/** The settings that all hooks read: {@link KernelSettings}. */
export const settingsMap: MapShape = { name: 'settings', type: ARRAY, key: 4, value: SETTINGS, entries: 1 };

/** The maps of `native/maps.h`. @param maxFlows the most flows that are pinned at once */
export const commonMaps = (maxFlows: number): MapShape[] => [
  { name: 'flows', type: HASH, key: FLOW_KEY, value: FLOW_VALUE, entries: maxFlows },
  { name: 'endpoints', type: HASH, key: ENDPOINT_KEY, value: ENDPOINT_VALUE, entries: MAX_ENDPOINTS },
  settingsMap,
  {
    name: 'clients',
    type: LPM_TRIE,
    key: CLIENT_KEY,
    value: CLIENT_VALUE,
    entries: MAX_CLIENTS,
    flags: NO_PREALLOC,
    isFresh: true,
  },
  { name: 'awake', type: ARRAY, key: 4, value: AWAKE, entries: 3, isFresh: true },
  { name: 'paths', type: HASH, key: PATH_KEY, value: PATH_VALUE, entries: MAX_PATHS, isFresh: true },
  { name: 'totals', type: PERCPU_ARRAY, key: 4, value: 8 * TOTALS.length, entries: 1, isFresh: true },
];
