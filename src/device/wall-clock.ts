/**
 * The wall clock, for timestamps that another host compares with its own. FIRSTACK_CLOCK_OFFSET_MS
 * shifts it: a laboratory, whose hosts share one clock, gives them different ones with it.
 */
const offsetMs = Number(process.env.FIRSTACK_CLOCK_OFFSET_MS ?? 0);

/** In µs, and even: it does not follow a clock that is set while we run. */
export function wallUs(): number {
  return (performance.timeOrigin + performance.now() + offsetMs) * 1000;
}

/** In ms, as the host has it now. */
export function wallMs(): number {
  return Date.now() + offsetMs;
}
