/**
 * The release schedule of an origin race: when each copy of a SYN leaves the origin.
 *
 * immediate, as published: at once. synchronized: each copy is held so that all of them would arrive at
 * one moment, t0 + Dmax; the first acknowledgement then minimises d(·,C). Pure; times in microseconds.
 */
/** Who sends the copies of a SYN: the origin; the gateway; the gateway, by what it has learned. */
export type Race = 'origin' | 'gateway' | 'learned';
export const RACES: readonly Race[] = ['origin', 'gateway', 'learned'];

export type Release = 'immediate' | 'synchronized';
export const RELEASES: readonly Release[] = ['synchronized', 'immediate'];

export interface Schedule {
  /** Dmax: how long the origin's own server waits. */
  serverDelayUs: number;
  /** How long each copy waits, in the order of the distances given. */
  delayUs: number[];
  /** How much later than t0 + Dmax a replica beyond the window gets its copy; 0 for the others. */
  excessUs: number[];
}

/**
 * @param distanceUs d(O,R) of each live replica, one way
 * @param windowUs the cap of Dmax; a replica farther than it races late by its excess
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
