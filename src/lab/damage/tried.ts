/** One connection of `bench damage`. */
export interface Tried {
  /** When it began, ms of the wall clock. */
  at: number;
  tookMs: number;
  /** '' when the page came. */
  error: string;
  servedBy: string;
}

/** A connection that takes longer has failed. A SYN that is lost twice is sent again within this time. */
export const TIMEOUT_MS = 5000;
