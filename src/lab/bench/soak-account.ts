/**
 * Judges each connection that failed: either cut, because the machine that carried it died meanwhile and there is
 * evidence for both; or failed without excuse. Pure. Times are ms of the monotonic clock that all processes share.
 */

/** A connection that failed, as the client saw it. */
export interface Unwell {
  service: string;
  configuration: string;
  path: string;
  startedAt: number;
  /** Null when it was never seen established. */
  connectedAt: number | null;
  endedAt: number;
  error: string;
  /** From the response's header; '' without a response. */
  servedBy: string;
  bodyBytes: number;
  localPort: number | null;
  /** The machine that carried it by the gateway's race record; null without a record. */
  winner: string | null;
}

/** A process of a machine was ended: the call began at `fromMs`, and the process had ended at `toMs`. */
export interface Blow {
  machine: string;
  what: 'web-killed' | 'role-killed' | 'role-stopped';
  fromMs: number;
  toMs: number;
}

export type Verdict =
  | { kind: 'failed' | 'mismatch'; why: string }
  | { kind: 'cut'; why: string; by: Blow['what']; carrier: string };

/** No transfer of a soak takes longer, even if its SYN had to be retransmitted. */
const HEALTHY_MS = 3000;

/**
 * A killed web server ends its connections. A role that is stopped without a drain ends the flows that it carries
 * (configurations B and C: README, Limits); a killed role ends only the flows that are not pinned in the kernel.
 * @param pinned whether every replica's fast path was on: then a killed role is no excuse
 */
export function judge(c: Unwell, blows: readonly Blow[], pinned: boolean): Verdict {
  if (c.error === 'hash-mismatch') return { kind: 'mismatch', why: `${c.bodyBytes} bytes, the wrong ones` };
  // A SYN that is answered with a RST fails with ECONNREFUSED; ECONNRESET means that it was established, even if that
  // was not observed.
  if (c.connectedAt === null && c.error !== 'ECONNRESET')
    return { kind: 'failed', why: `not established: ${c.error}` };
  const carrier = c.servedBy !== '' ? c.servedBy : c.winner;
  if (carrier === null)
    return { kind: 'failed', why: `${c.error}, and it is not known which machine carried it` };
  const excuses = (b: Blow): boolean => {
    if (b.machine !== carrier || b.toMs < c.startedAt || b.fromMs > c.endedAt) return false;
    // A connection that should have ended long before was already stuck.
    if (b.fromMs > c.startedAt + HEALTHY_MS) return false;
    if (b.what === 'web-killed') return true;
    // After a stop is requested, new connections must not be carried there any more.
    if (b.what === 'role-stopped' && b.fromMs < c.startedAt) return false;
    return c.configuration !== 'A' && (b.what === 'role-stopped' || !pinned);
  };
  const blow = blows.find(excuses);
  if (blow === undefined)
    return { kind: 'failed', why: `${c.error} while ${carrier} carried it, of which no process ended` };
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
