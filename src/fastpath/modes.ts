export const FASTPATHS = ['auto', 'on', 'stack', 'off'] as const;
/**
 * on: pinned flows are redirected from interface to interface and bypass the host's own netfilter. stack: hooks
 * translate them before the stack, which forwards them. off: every packet goes through the TUN. auto: the first of
 * these that this host supports without bypassing its rules.
 */
export type Fastpath = (typeof FASTPATHS)[number];
/** How pinned flows are carried. */
export type KernelMode = Exclude<Fastpath, 'auto'>;
