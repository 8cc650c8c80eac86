/**
 * Why a packet left as it did. Each reason is a counter; its prefix is the verdict, so that the sums add
 * up: packets in = pass + drop + hold, packets out = pass + emit + release - write errors.
 *
 * A role declares its own beside the ones that every pipeline has. Names are stable: they are metrics.
 */
export const COMMON = {
  passDefault: 'pass.unmatched',
  passNotIpv4: 'pass.not-ipv4',
  passNotTcp: 'pass.not-tcp',
  passFragment: 'pass.fragment',
  dropMalformed: 'drop.malformed',
  dropNoRoom: 'drop.no-room',
  dropEcn: 'drop.ecn',
  release: 'release.held',
  writeError: 'error.write',
  readError: 'error.read',
} as const;

export type Reasons<T> = { readonly [K in keyof T]: number } & { readonly names: readonly string[] };

/** Numbers the common reasons and a role's own; the numbers are the same in every thread. */
export function defineReasons<T extends Record<string, string>>(own: T): Reasons<typeof COMMON & T> {
  const all: Record<string, string> = { ...COMMON, ...own };
  const out: Record<string, unknown> = { names: Object.freeze(Object.values(all)) };
  Object.keys(all).forEach((key, i) => {
    out[key] = i;
  });
  return Object.freeze(out) as Reasons<typeof COMMON & T>;
}

/** Ids of the common reasons, the same in every role. */
export const common = defineReasons({});

/** Room for counters in shared memory, whatever the role. */
export const MAX_REASONS = 96;
/** Room for gauges in shared memory, whatever the role. */
export const GAUGES = 256;
/** The gauge of flows that the kernel carries. */
export const PINNED_FLOWS = 1;
