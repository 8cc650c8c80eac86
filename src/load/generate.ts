/**
 * The open loop: arrivals are sent when they are due, whatever became of those before them. A server that
 * stalls meets everything that would have come meanwhile, and each waits from when it was due.
 */
import { type Attempt, connectOnce, getOnce, type Mode, type Target } from './attempt.js';
import { Recording } from './recording.js';

export interface Plan {
  mode: Mode;
  target: Target;
  /** Of the arrival with this number, where targets differ; `target` for all by default. */
  targetOf?: (i: number) => Target;
  /** Told of every attempt that has ended. */
  ended?: (i: number, attempt: Attempt) => void;
  /** ms from the beginning, ascending. */
  dueMs: Float64Array;
  /** Connections open at a time. An arrival above it is missed: it is counted, not sent later. */
  maxOpen: number;
}

/** Time to get going before the first arrival is due. */
const LEAD_MS = 20;
/** Timers wake up to so much late: what remains is spent in turns of the event loop. */
const TIMER_SLACK_MS = 1;

/**
 * @param watch called once, before the first arrival: to follow the recording while it grows
 * @param stop ends the sending; connections that are open are still waited for
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
      // Only what is due by now: answers are read between two turns even when sending falls behind.
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
