/** A registry in a YAML file, watched: a fixed set, with no server to run. Roles publish nothing here. */
import { unwatchFile, watchFile } from 'node:fs';
import { readYaml } from '../config.js';
import { describeError } from '../errors.js';
import type { Logger } from '../log.js';
import { fileSchema, type View } from './records.js';
import type { Registry } from './registry.js';

const POLL_MS = 500;

export class FileRegistry implements Registry {
  readonly kind = 'file';
  view: View = { services: [], replicas: [], gateways: [], origins: undefined };
  /** False while the file cannot be used; the last good view stays. */
  connected = false;
  #confirmedAt = 0;
  #callbacks: (() => void)[] = [];
  readonly #onFile = (): void => this.#reload();

  constructor(
    readonly path: string,
    readonly log: Logger,
  ) {}

  get viewAgeMs(): number {
    return this.connected ? 0 : performance.now() - this.#confirmedAt;
  }

  get problem(): string | undefined {
    if (this.connected) return undefined;
    return `registry lost ${Math.round(this.viewAgeMs)} ms ago: going on with the last view`;
  }
  readonly clockOffsetMs = undefined;

  /** A file is read as a whole. */
  async follow(): Promise<void> {}

  async start(): Promise<void> {
    this.#read();
    watchFile(this.path, { interval: POLL_MS }, this.#onFile);
  }

  #read(): void {
    const { value } = readYaml<Omit<View, 'origins' | 'proximities'>>(this.path, fileSchema);
    this.view = { ...value, origins: undefined };
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

  onChange(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  async stop(): Promise<void> {
    unwatchFile(this.path, this.#onFile);
    this.#callbacks = [];
  }
}
