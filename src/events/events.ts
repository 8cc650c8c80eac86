/**
 * What happened to a role, for the operator who asks later: each event is said once in the log, kept in memory, and
 * kept on disk within bounds, so that `firstack events --since 1h` tells what changed before a restart too.
 *
 * An event is a change (a machine was taken out of the races, a rule was put back), never a packet: at most a few a
 * second. A disk that is full or not writable costs the history after a restart, and nothing else.
 */
import { appendFileSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import type { Logger } from '../log.js';

/** The directory of all instances' events: systemd's StateDirectory where a unit has one. */
export const STATE_DIRECTORY =
  process.env.FIRSTACK_STATE_DIR ?? process.env.STATE_DIRECTORY?.split(':')[0] ?? '/var/lib/firstack';

/** Events kept in memory. */
const KEPT = 1000;
/** A file of this size becomes the older one of two, so the disk holds twice as much at the most. */
const MOST_BYTES = 1 << 20;
const MOST_CHARACTERS = 2000;

export type Level = 'info' | 'warn' | 'error';

/** One event: plain JSON, as `/v1/events` answers it and as the file has it. */
export interface Event {
  /** Time of the wall clock, ms since 1970. */
  at: number;
  level: Level;
  /** What happened, as one word or two with a hyphen: `ejected`, `repaired`, `server-down`. */
  kind: string;
  /** The machine, rule or service to which it happened. */
  subject: string;
  message: string;
  /** The figures on which a decision was based. */
  evidence?: Record<string, unknown>;
}

export class Events {
  readonly #file: string;
  #kept: Event[] = [];
  #bytes = 0;
  #mayWrite = true;

  /** @param directory where the instance's file is kept; null to keep events in memory only */
  constructor(
    readonly instance: string,
    readonly log: Pick<Logger, Level>,
    directory: string | null = STATE_DIRECTORY,
    readonly now: () => number = Date.now,
  ) {
    this.#file = directory === null ? '' : `${directory}/${instance}/events.jsonl`;
    if (directory === null) return;
    this.#kept = [...readEvents(`${this.#file}.1`), ...readEvents(this.#file)].slice(-KEPT);
    this.#bytes = sizeOf(this.#file);
    // A line that a crash cut short ends here.
    if (this.#bytes > 0) this.#write('\n');
  }

  /** Logs an event and keeps it. */
  say(
    level: Level,
    kind: string,
    subject: string,
    message: string,
    evidence?: Record<string, unknown>,
  ): void {
    const [about, text] = [plain(subject), plain(message)];
    this.log[level]({ event: kind, subject: about, ...evidence }, text);
    const event: Event = {
      ...{ at: this.now(), level, kind, subject: about, message: text },
      ...(evidence === undefined ? {} : { evidence }),
    };
    this.#kept.push(event);
    if (this.#kept.length > KEPT) this.#kept.shift();
    this.#write(`${JSON.stringify(event)}\n`);
  }

  /** Events of this time or later, the oldest first. @param sinceMs ms since 1970 */
  since(sinceMs: number): Event[] {
    return this.#kept.filter((e) => e.at >= sinceMs);
  }

  #write(line: string): void {
    if (this.#file === '' || !this.#mayWrite) return;
    try {
      if (this.#bytes === 0) mkdirSync(this.#file.slice(0, this.#file.lastIndexOf('/')), { recursive: true });
      if (this.#bytes + line.length > MOST_BYTES) {
        renameSync(this.#file, `${this.#file}.1`);
        this.#bytes = 0;
      }
      appendFileSync(this.#file, line);
      this.#bytes += line.length;
    } catch (error) {
      // Said once: the log has every event, and a full disk would make every event two lines.
      this.#mayWrite = false;
      this.log.warn({ error: (error as Error).message }, 'events are kept in memory only');
    }
  }
}

/** A record of another role may have a text of any length, and with any characters. */
const plain = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not reach a terminal
  text.slice(0, MOST_CHARACTERS).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');

/** The events of a file; a line that a crash cut short is left out. */
function readEvents(file: string): Event[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => {
    try {
      const event = JSON.parse(line) as Event;
      return typeof event.at === 'number' && typeof event.kind === 'string' ? [event] : [];
    } catch {
      return [];
    }
  });
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    return 0;
  }
}
