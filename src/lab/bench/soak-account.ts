/**
 * What became of the connections that did not end well: cut, because the machine that carried them died while they
 * ran and there is evidence for both; or failed. Pure. Times are ms of the monotonic clock that all processes share.
 */

/** A connection that did not end well, as the client saw it. */
export interface Unwell {
  service: string;
  configuration: string;
  path: string;
  startedAt: number;
  /** Null: never seen to be established. */
  connectedAt: number | null;
  endedAt: number;
  error: string;
  /** By the response's header; '' without a response. */
  servedBy: string;
  bodyBytes: number;
  localPort: number | null;
  /** Who carried it by the gateway's race record; null when there is none. */
  winner: string | null;
}

/** Something of a machine was ended: the call began at `fromMs`, and it was gone at `toMs`. */
export interface Blow {
  machine: string;
  what: 'web-killed' | 'role-killed' | 'role-stopped';
  fromMs: number;
  toMs: number;
}

export type Verdict =
  | { kind: 'failed' | 'mismatch'; why: string }
  | { kind: 'cut'; why: string; by: Blow['what']; carrier: string };

/** No transfer of a soak takes so long, one whose SYN had to be sent again included. */
const HEALTHY_MS = 3000;

/**
 * A killed web server takes its connections along. A role that is stopped, not drained, takes the flows along that
 * it carries (B and C: README, Limits); killed, only those that are not pinned in the kernel.
 * @param pinned every replica's fast path was on: a killed role is then no excuse
 */
export function judge(c: Unwell, blows: readonly Blow[], pinned: boolean): Verdict {
  if (c.error === 'hash-mismatch') return { kind: 'mismatch', why: `${c.bodyBytes} bytes, the wrong ones` };
  // A SYN that is answered with a RST is refused: what is reset had been established, if nobody looked yet.
  if (c.connectedAt === null && c.error !== 'ECONNRESET')
    return { kind: 'failed', why: `not established: ${c.error}` };
  const carrier = c.servedBy !== '' ? c.servedBy : c.winner;
  if (carrier === null) return { kind: 'failed', why: `${c.error}, and nobody knows who carried it` };
  const excuses = (b: Blow): boolean => {
    if (b.machine !== carrier || b.toMs < c.startedAt || b.fromMs > c.endedAt) return false;
    // One that should have ended long before was stuck already.
    if (b.fromMs > c.startedAt + HEALTHY_MS) return false;
    if (b.what === 'web-killed') return true;
    // A stop is asked for: what begins after that is not to be carried there any more.
    if (b.what === 'role-stopped' && b.fromMs < c.startedAt) return false;
    return c.configuration !== 'A' && (b.what === 'role-stopped' || !pinned);
  };
  const blow = blows.find(excuses);
  if (blow === undefined)
    return { kind: 'failed', why: `${c.error} while ${carrier} carried it and nothing of it ended` };
  const by = c.servedBy === '' ? "the gateway's race record" : "the response's header";
  const intoMs = Math.round(blow.fromMs - c.startedAt);
  return {
    kind: 'cut',
    by: blow.what,
    carrier,
    why: `${c.error}: carried by ${carrier} (${by}), ${blow.what} ${intoMs} ms after it began, after ${c.bodyBytes} bytes`,
  };
}

export interface Account {
  failed: (Unwell & { why: string })[];
  mismatches: (Unwell & { why: string })[];
  cut: (Unwell & { why: string; by: Blow['what'] })[];
}

export function accountOf(all: readonly Unwell[], blows: readonly Blow[], pinned: boolean): Account {
  const account: Account = { failed: [], mismatches: [], cut: [] };
  for (const c of all) {
    const verdict = judge(c, blows, pinned);
    if (verdict.kind === 'cut') account.cut.push({ ...c, why: verdict.why, by: verdict.by });
    else if (verdict.kind === 'mismatch') account.mismatches.push({ ...c, why: verdict.why });
    else account.failed.push({ ...c, why: verdict.why });
  }
  return account;
}
