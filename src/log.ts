/** Logs: pino, JSON lines on stderr (stdout is for results only). */
import { type Logger, pino } from 'pino';

export type { Logger };

export function createLog(name: string, level: string): Logger {
  return pino({ name, level, base: { name } }, pino.destination({ fd: 2, sync: true }));
}
