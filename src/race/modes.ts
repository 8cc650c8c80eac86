/** The configurations as the data planes number them. */
import type { Configuration } from './records.js';

/** A: the gateway translates both ways. */
export const TRANSLATE = 0;
/** B: replicas spoof the origin. */
export const SPOOF = 1;
/** C: everything between gateway and replica is tunnelled. */
export const TUNNEL = 2;
export type Mode = typeof TRANSLATE | typeof SPOOF | typeof TUNNEL;

export const MODES: Record<Configuration, Mode> = { A: TRANSLATE, B: SPOOF, C: TUNNEL };
