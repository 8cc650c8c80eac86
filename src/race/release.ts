/**
 * The release schedule of an origin race: when each copy of a SYN leaves the origin.
 *
 * immediate: at once, as in the published method. synchronized: each copy is held so that all copies would arrive at
 * the same time, t0 + Dmax; the candidate that acknowledges first is then the one with the least d(·,C). Pure; times
 * in microseconds.
 */
/**
 * Which role sends the copies of a SYN: the origin; the gateway; or the gateway, to the candidates that it has
 * learned.
 */
export type Race = 'origin' | 'gateway' | 'learned';
export const RACES: readonly Race[] = ['origin', 'gateway', 'learned'];

export type Release = 'immediate' | 'synchronized';
export const RELEASES: readonly Release[] = ['synchronized', 'immediate'];

export interface Schedule {
  /** Dmax: how long the SYN to the origin's own server waits. */
  serverDelayUs: number;
  /** How long each copy waits, in the order of the given distances. */
  delayUs: number[];
  /** How much later than t0 + Dmax a replica beyond the window receives its copy; 0 for the others. */
  excessUs: number[];
}

/**
 * @param distanceUs d(O,R) of each live replica, one way
 * @param windowUs the cap of Dmax; a replica farther away than this receives its copy late, by its excess
 */
export function schedule(release: Release, distanceUs: readonly number[], windowUs: number): Schedule {
  if (release === 'immediate')
    return { serverDelayUs: 0, delayUs: distanceUs.map(() => 0), excessUs: distanceUs.map(() => 0) };
  const dmax = distanceUs.reduce((most, d) => Math.max(most, Math.min(d, windowUs)), 0);
  return {
    serverDelayUs: dmax,
    delayUs: distanceUs.map((d) => Math.max(0, dmax - d)),
    excessUs: distanceUs.map((d) => Math.max(0, d - dmax)),
  };
}
