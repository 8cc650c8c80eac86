/** A registry in a watched YAML file: a fixed set of records, without a server. Roles publish nothing here. */
import { unwatchFile, watchFile } from 'node:fs';
import { readYaml, type Schema, validate } from '../config.js';
import { describeError, FirstackError, type Problem } from '../errors.js';
import type { Logger } from '../log.js';
import { type RecordKind, View } from './kinds.js';
import type { Registry } from './registry.js';

const POLL_MS = 500;

export class FileRegistry implements Registry {
  readonly kind = 'file';
  view: View;
  readonly #kinds: readonly RecordKind[];
  readonly #schema: Schema;
  /** False while the file cannot be used; the last good view is kept. */
  connected = false;
  #confirmedAt = 0;
  #callbacks: (() => void)[] = [];
  readonly #onFile = (): void => this.#reload();

  constructor(
    readonly path: string,
    readonly log: Logger,
    kinds: readonly RecordKind[],
  ) {
    this.#kinds = kinds.filter((k) => k.inFile !== undefined);
    this.#schema = {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(
        this.#kinds.map((k) => [k.inFile!, { type: 'array', items: { type: 'object' }, default: [] }]),
      ),
    };
    this.view = View.of();
  }

  get viewAgeMs(): number {
    return this.connected ? 0 : performance.now() - this.#confirmedAt;
  }

  get problem(): string | undefined {
    if (this.connected) return undefined;
    return `registry lost ${Math.round(this.viewAgeMs)} ms ago: going on with the last view`;
  }
  readonly clockOffsetMs = undefined;
  readonly refused = {};

  /** Does nothing, because a file is read as a whole. */
  async follow(): Promise<void> {}

  async start(): Promise<void> {
    this.#read();
    watchFile(this.path, { interval: POLL_MS }, this.#onFile);
  }

  #read(): void {
    // The defaults of records are filled in after the file was read, in copies.
    const { value, locate } = readYaml<Record<string, unknown[]>>(this.path, this.#schema);
    const problems: Problem[] = [];
    const lists: [RecordKind, unknown[]][] = [];
    for (const kind of this.#kinds) {
      const records = structuredClone(value[kind.inFile!]);
      records.forEach((record, i) => {
        const at = (path: readonly (string | number)[]): string => locate([kind.inFile!, i, ...path]);
        problems.push(...validate(record, kind.schemaOf(record), at, [kind.inFile!, String(i)]));
      });
      lists.push([kind, records]);
    }
    if (problems.length > 0) throw FirstackError.ofProblems(problems);
    this.view = View.of(
      ...lists.map(([k, rs]) => [k, rs.map((r) => k.upgrade?.(r) ?? r)] as [RecordKind, unknown[]]),
    );
    this.connected = true;
    this.#confirmedAt = performance.now();
  }

  #reload(): void {
    try {
      this.#read();
      this.log.info({ path: this.path }, 'registry file read again');
    } catch (error) {
      this.connected = false;
      this.log.error(
        { problems: describeError(error) },
        'registry file is not usable: going on with the last view',
      );
    }
    for (const callback of this.#callbacks) callback();
  }

  publish(): void {}

  /** A file has no writers among the roles. */
  onContested(): void {}

  onChange(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  async stop(): Promise<void> {
    unwatchFile(this.path, this.#onFile);
    this.#callbacks = [];
  }
}
