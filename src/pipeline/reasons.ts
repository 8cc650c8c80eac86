/**
 * The reason for each packet's verdict. Each reason is a counter; its prefix is the verdict, so that the sums add up:
 * packets in = pass + drop + hold + joined (fragments but the last of a datagram), packets out = pass + emit + release - write errors.
 *
 * A program declares reasons of its own beside those that every pipeline has. Names are stable, because they are
 * metrics.
 */
export const COMMON = {
  passDefault: 'pass.unmatched',
  passNotIpv4: 'pass.not-ipv4',
  passNotTcp: 'pass.not-tcp',
  passFragment: 'pass.fragment',
  joinedFragment: 'joined.fragment',
  dropFragment: 'drop.fragment',
  dropFragmentRepeated: 'drop.fragment-repeated',
  dropMalformed: 'drop.malformed',
  dropNoRoom: 'drop.no-room',
  dropEcn: 'drop.ecn',
  release: 'release.held',
  writeError: 'error.write',
  readError: 'error.read',
} as const;

/** The most counters and gauges in shared memory, for any program. */
export const MAX_REASONS = 96;
export const MAX_GAUGES = 32;

export type Reasons<T> = { readonly [K in keyof T]: number } & { readonly names: readonly string[] };

/** Numbers the common reasons and the program's own; the numbers are the same in every thread. */
export function defineReasons<T extends Record<string, string>>(own: T): Reasons<typeof COMMON & T> {
  const all: Record<string, string> = { ...COMMON, ...own };
  if (Object.keys(all).length > MAX_REASONS) throw new RangeError(`more than ${MAX_REASONS} reasons`);
  const out: Record<string, unknown> = { names: Object.freeze(Object.values(all)) };
  Object.keys(all).forEach((key, i) => {
    out[key] = i;
  });
  return Object.freeze(out) as Reasons<typeof COMMON & T>;
}

/** Ids of the common reasons, the same in every program. */
export const common = defineReasons({});

/** Gauges by name, with their places in shared memory. */
export type Gauges<T> = { readonly [K in keyof T]: number } & { readonly names: readonly string[] };

/** Numbers a program's gauges in the order given. */
export function defineGauges<T extends Record<string, string>>(own: T): Gauges<T> {
  const out: Record<string, unknown> = { names: Object.freeze(Object.values(own)) };
  Object.keys(own).forEach((key, i) => {
    out[key] = i;
  });
  return Object.freeze(out) as Gauges<T>;
}
