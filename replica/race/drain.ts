/**
 * Taking a replica out of service: it gets no new connections, keeps those that it has, and says when the last one has
 * ended. Asked for by an operator; outlives a killed process, not a clean stop.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { forgetRecord, RUN_DIRECTORY } from '../../src/steer/apply.js';

const FILE = 'drain';
/** Looks in a row without a connection: one that was accepted this moment is counted by the second. */
const EMPTY_LOOKS = 2;

export class Drain {
  #wanted: boolean;
  #empty = 0;

  constructor(readonly instance: string) {
    this.#wanted = existsSync(this.#path);
  }

  get #path(): string {
    return `${RUN_DIRECTORY}/${this.instance}/${FILE}`;
  }

  /** Undefined where nobody asked for it. */
  get progress(): 'draining' | 'drained' | undefined {
    if (!this.#wanted) return undefined;
    return this.#empty >= EMPTY_LOOKS ? 'drained' : 'draining';
  }

  begin(): void {
    if (this.#wanted) return;
    mkdirSync(`${RUN_DIRECTORY}/${this.instance}`, { recursive: true, mode: 0o755 });
    writeFileSync(this.#path, '');
    this.#wanted = true;
    this.#empty = 0;
  }

  /** Back in service, or stopped. */
  end(): void {
    this.#wanted = false;
    this.#empty = 0;
    forgetRecord(this.instance, FILE);
  }

  /** Takes a count of connections over, once a second. */
  observe(connections: number): void {
    if (this.#wanted) this.#empty = connections === 0 ? this.#empty + 1 : 0;
  }
}
