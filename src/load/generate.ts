/**
 * The open loop: an arrival is sent when it is due, whatever the results of earlier ones. So a server that stalls
 * receives all arrivals that fall into the stall, and the latency of each counts from its due time.
 */
import { type Attempt, connectOnce, getOnce, type Mode, type Target } from './attempt.js';
import { Recording } from './recording.js';

export interface Plan {
  mode: Mode;
  target: Target;
  /** The target of the arrival with this number, where targets differ; by default `target` for all. */
  targetOf?: (i: number) => Target;
  /** Called for every attempt that has ended. */
  ended?: (i: number, attempt: Attempt) => void;
  /** ms from the beginning, ascending. */
  dueMs: Float64Array;
  /** The most connections that are open at a time. An arrival above it is missed: it is counted, not sent later. */
  maxOpen: number;
}

/** Time to start before the first arrival is due. */
const LEAD_MS = 20;
/** A timer may fire this much late; the remaining time is spent in turns of the event loop. */
const TIMER_SLACK_MS = 1;

/**
 * @param watch called once, before the first arrival, with the recording that grows
 * @param stop ends the sending; open connections are still waited for
 */
export function generate(
  plan: Plan,
  watch: (recording: Recording) => void = () => {},
  stop: AbortSignal = new AbortController().signal,
): Promise<Recording> {
  const { dueMs, target, targetOf = () => target, maxOpen } = plan;
  const attempt = plan.mode === 'http' ? getOnce : connectOnce;
  const recording = new Recording(dueMs);
  const { counts } = recording;
  const begunAt = performance.now() + LEAD_MS;
  let next = 0;
  watch(recording);

  return new Promise((resolve) => {
    const isOver = (): boolean => counts.open === 0 && (next === dueMs.length || stop.aborted);
    const send = (i: number): void => {
      if (counts.open >= maxOpen) return recording.miss(i);
      recording.begin(i, performance.now() - begunAt);
      void attempt(targetOf(i)).then((ended) => {
        recording.end(i, ended, begunAt);
        plan.ended?.(i, ended);
        if (isOver()) resolve(recording);
      });
    };
    const turn = (): void => {
      if (stop.aborted || next === dueMs.length) {
        if (isOver()) resolve(recording);
        return;
      }
      // Sends only arrivals that are due by now, so that answers are read between two turns even when sending falls
      // behind.
      const now = performance.now() - begunAt;
      while (next < dueMs.length && dueMs[next] <= now) send(next++);
      const waitMs = next < dueMs.length ? dueMs[next] - now - TIMER_SLACK_MS : 0;
      if (waitMs >= 1) timer = setTimeout(turn, Math.floor(waitMs));
      else setImmediate(turn);
    };
    let timer: NodeJS.Timeout | undefined;
    stop.addEventListener('abort', () => {
      clearTimeout(timer);
      setImmediate(turn);
    });
    turn();
  });
}
