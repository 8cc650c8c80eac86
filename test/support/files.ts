/** Temporary files of one test file, which are deleted at its end; and the text of errors. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll } from 'vitest';
import { FirstackError, type Problem } from '../../src/errors.js';

export class Files {
  readonly directory = mkdtempSync(`${tmpdir()}/firstack-test-`);
  #made = 0;
  constructor() {
    afterAll(() => rmSync(this.directory, { recursive: true, force: true }));
  }
  /** Writes a new file. @returns its path */
  write(text: string, mode = 0o600): string {
    const path = this.path();
    writeFileSync(path, text, { mode });
    return path;
  }
  /** A path at which no file exists yet. */
  path(): string {
    return `${this.directory}/f${this.#made++}.yaml`;
  }
}

/** The problems with which a call fails; the test fails when it does not. */
export function problemsOf(call: () => unknown): Problem[] {
  try {
    call();
  } catch (error) {
    if (error instanceof FirstackError) return error.problems;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** `CODE line:column message`, without the file's name. */
export function linesOf(problems: readonly Problem[], file: string): string[] {
  return problems.map((p) => `${p.code} ${p.message.replace(`${file}:`, '')}`);
}
