import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Events } from '../../../src/events/events.js';

let directory: string;
let lines: string[];
const log = {
  info: (_: unknown, text?: string) => void lines.push(`info ${text}`),
  warn: (_: unknown, text?: string) => void lines.push(`warn ${text}`),
  error: (_: unknown, text?: string) => void lines.push(`error ${text}`),
} as unknown as ConstructorParameters<typeof Events>[1];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'events-'));
  lines = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('events', () => {
  it('are logged once, kept, and found by time', () => {
    let now = 1000;
    const events = new Events('gw', log, directory, () => now);
    events.say('warn', 'ejected', 'r2', 'r2 is not raced: no first byte in 9 of 10', {
      asked: 10,
      failed: 9,
    });
    now = 2000;
    events.say('info', 'back', 'r2', 'r2 is raced again');
    expect(lines).toEqual(['warn r2 is not raced: no first byte in 9 of 10', 'info r2 is raced again']);
    expect(events.since(2000).map((e) => e.kind)).toEqual(['back']);
    expect(events.since(0)[0].evidence).toEqual({ asked: 10, failed: 9 });
  });

  it('are still known after a restart, except for a line that a crash cut short', () => {
    new Events('gw', log, directory).say('info', 'start', 'gw', 'one');
    appendFileSync(join(directory, 'gw/events.jsonl'), '{"at":5,"kind":"ha');
    const again = new Events('gw', log, directory);
    expect(again.since(0).map((e) => e.message)).toEqual(['one']);
  });

  it('use a bounded part of the disk and of memory', () => {
    const events = new Events('gw', log, directory);
    const filler = 'x'.repeat(2000);
    for (let n = 0; n < 2000; n++) events.say('info', 'filler', String(n), filler);
    const sizes = readdirSync(join(directory, 'gw')).map((f) => statSync(join(directory, 'gw', f)).size);
    expect(sizes).toHaveLength(2);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1 << 20);
    expect(events.since(0)).toHaveLength(1000);
    expect(events.since(0).at(-1)!.subject).toBe('1999');
    expect(readFileSync(join(directory, 'gw/events.jsonl'), 'utf8')).toContain('"1999"');
  });

  it('a directory that cannot be written costs the file only, and is said once', () => {
    writeFileSync(join(directory, 'file'), '');
    const events = new Events('gw', log, join(directory, 'file'));
    events.say('info', 'a', 'x', 'first');
    events.say('info', 'a', 'x', 'second');
    expect(lines).toEqual(['info first', 'warn events are kept in memory only', 'info second']);
    expect(events.since(0)).toHaveLength(2);
  });
});
