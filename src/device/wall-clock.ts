/**
 * The wall clock, for timestamps that another host compares with its own. FIRSTACK_CLOCK_OFFSET_MS shifts it: the
 * hosts of a laboratory share one clock, and get different wall clocks this way.
 */
const offsetMs = Number(process.env.FIRSTACK_CLOCK_OFFSET_MS ?? 0);

/** In µs. It runs evenly: a wall clock that is set while the process runs does not change it. */
export function wallUs(): number {
  return (performance.timeOrigin + performance.now() + offsetMs) * 1000;
}

/** In ms, as the host's wall clock says now. */
export function wallMs(): number {
  return Date.now() + offsetMs;
}
