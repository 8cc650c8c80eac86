/** One transfer between a client and a web server: what its process reports. */
export interface Transfer {
  /** Its number. */
  n: number;
  /** '' when every byte arrived and was the right one; else the reason. */
  error: string;
  servedBy: string;
  tookMs: number;
  /** The longest time without progress. */
  stallMs: number;
}

export type Way = 'up' | 'down';

/** A transfer without progress for this long has failed. */
export const GIVE_UP_MS = 12_000;
