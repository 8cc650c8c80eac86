/**
 * Logs: pino, JSON lines on stderr (stdout is for results only). Under systemd each line begins with its priority,
 * `<4>`, so that `journalctl -p warning` finds what it should (sd-daemon(3)).
 */
import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';

export type { Logger };

/** pino's levels as syslog priorities. */
const priorityOf = (level: number): number =>
  level >= 60 ? 2 : level >= 50 ? 3 : level >= 40 ? 4 : level >= 30 ? 6 : 7;

const STDERR = 2;

/** @param name `firstack-ROLE` @param instance the role's instance, which is in every line */
export function createLog(name: string, level: string, instance?: string): Logger {
  const base = instance === undefined ? { name } : { name, instance };
  const options = { name, level, base };
  if (process.env.JOURNAL_STREAM === undefined)
    return pino(options, pino.destination({ fd: STDERR, sync: true }));
  const write = (line: string): void => {
    const priority = priorityOf(Number(/"level":(\d+)/.exec(line)?.[1] ?? 30));
    try {
      writeSync(STDERR, `<${priority}>${line}`);
    } catch {
      // The journal is busy or gone; a role does not end for a log line.
    }
  };
  return pino(options, { write });
}
