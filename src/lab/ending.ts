/**
 * Tasks that must still be done when this process ends early: by SIGINT, SIGTERM, SIGHUP or an uncaught exception.
 * The signals are handled only while a task is registered.
 */
import { describeError } from '../errors.js';

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface EndTask {
  orderly: () => Promise<void>;
  /** For an exit of the process that cannot wait: synchronous. */
  atOnce: () => void;
}

const tasks = new Set<EndTask>();
let ending: Promise<never> | undefined;

/** @returns a function that unregisters the task */
export function onEnd(task: EndTask): () => void {
  if (tasks.size === 0) listen();
  tasks.add(task);
  return () => {
    if (tasks.delete(task) && tasks.size === 0) unlisten();
  };
}

function end(status: number): void {
  ending ??= (async () => {
    await Promise.allSettled([...tasks].map((task) => task.orderly()));
    process.exit(status);
  })();
}

const onSignal = (name: NodeJS.Signals) => end(SIGNALS[name as keyof typeof SIGNALS]);

function onExit(): void {
  for (const task of tasks) task.atOnce();
}

function onException(error: unknown): void {
  for (const line of describeError(error)) process.stderr.write(`${line}\n`);
  end(1);
}

function listen(): void {
  for (const name of Object.keys(SIGNALS)) process.on(name, onSignal);
  process.on('uncaughtException', onException);
  process.on('exit', onExit);
}

function unlisten(): void {
  // While it is ending, a second Ctrl-C must not interrupt the cleanup.
  if (ending !== undefined) return;
  for (const name of Object.keys(SIGNALS)) process.off(name, onSignal);
  process.off('uncaughtException', onException);
  process.off('exit', onExit);
}
