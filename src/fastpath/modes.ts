export const FASTPATHS = ['auto', 'on', 'stack', 'off'] as const;
/**
 * on: pinned flows go from interface to interface, past the host's own netfilter. stack: they are translated
 * before the stack, which forwards them. off: every packet goes through the TUN. auto: the best that this host
 * can do without passing over its rules.
 */
export type Fastpath = (typeof FASTPATHS)[number];
/** How pinned flows are carried. */
export type KernelMode = Exclude<Fastpath, 'auto'>;
