/**
 * Takes a replica out of service: it gets no new connections, keeps its existing ones, and reports when the last one
 * has ended. An operator requests it. A drain survives a kill of the process, but not a clean stop.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { forgetRecord, RUN_DIRECTORY } from '../../src/steer/record.js';

const FILE = 'drain';
/**
 * Consecutive counts of 0 connections that end the drain: a connection that is being accepted is included in the
 * second count.
 */
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

  /** Undefined where no operator has requested a drain. */
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

  /** Ends the drain: the replica is in service again, or stopped. */
  end(): void {
    this.#wanted = false;
    this.#empty = 0;
    forgetRecord(this.instance, FILE);
  }

  /**
   * Takes the number of connections, once a second.
   * @param isAcknowledged whether no gateway gives new connections any more
   */
  observe(connections: number, isAcknowledged: boolean): void {
    if (this.#wanted) this.#empty = connections === 0 && isAcknowledged ? this.#empty + 1 : 0;
  }
}
