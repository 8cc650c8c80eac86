/** The configurations A, B and C as the numbers that data planes use. */
import type { Configuration } from './records.js';

/** Configuration A: the gateway translates in both directions. */
export const TRANSLATE = 0;
/** Configuration B: replicas spoof the origin. */
export const SPOOF = 1;
/** Configuration C: all packets between gateway and replica are tunnelled. */
export const TUNNEL = 2;
export type Mode = typeof TRANSLATE | typeof SPOOF | typeof TUNNEL;

export const MODES: Record<Configuration, Mode> = { A: TRANSLATE, B: SPOOF, C: TUNNEL };
