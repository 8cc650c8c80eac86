/**
 * The wall clock in µs, for timestamps that another host compares with its own. FIRSTACK_CLOCK_OFFSET_MS
 * shifts it: a laboratory, whose hosts share one clock, gives them different ones with it.
 */
const offsetUs = Number(process.env.FIRSTACK_CLOCK_OFFSET_MS ?? 0) * 1000;

export function wallUs(): number {
  return (performance.timeOrigin + performance.now()) * 1000 + offsetUs;
}
