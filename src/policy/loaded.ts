/** A policy in force: read again when its file changes, run in a sandbox. What is wrong is said once, and changes nothing. */
import type { KeyObject } from 'node:crypto';
import { statSync } from 'node:fs';
import type { Events } from '../events/events.js';
import { Sandbox } from './sandbox.js';
import { codeOf, type Policy, PolicyError, type PolicyKind, readPolicy } from './signed.js';
import { readText } from './store.js';

export class LoadedPolicy {
  policy: Policy | undefined;
  #sandbox: Sandbox | undefined;
  #seen = '';
  #said = '';

  /** @param deadlineMs how long one call may take */
  constructor(
    readonly path: string,
    readonly kind: PolicyKind,
    readonly key: KeyObject,
    readonly deadlineMs: number,
    readonly events: Events,
  ) {}

  /** Takes over a changed file. A wrong one is refused, and the former one stays. */
  look(nowMs: number): void {
    let seen: string;
    try {
      const { mtimeMs, ino, size } = statSync(this.path);
      seen = `${ino} ${mtimeMs} ${size}`;
    } catch (error) {
      return this.#say('error', `${this.path}: ${(error as Error).message}`);
    }
    if (seen === this.#seen) return this.#expire(nowMs);
    this.#seen = seen;
    try {
      const policy = readPolicy(readText(this.path), this.key, nowMs);
      if (policy.kind !== this.kind)
        throw new PolicyError(`it is one of kind ${policy.kind}, not ${this.kind}`);
      this.#sandbox?.stop();
      this.#sandbox = new Sandbox(codeOf(policy), policy.kind, this.deadlineMs);
      this.policy = policy;
      this.#say('info', `version ${policy.version} of ${policy.name} is in force`);
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      this.#say('error', `${this.path} is refused: ${error.message}`);
    }
  }

  #expire(nowMs: number): void {
    if (this.policy === undefined || nowMs <= Date.parse(this.policy.notAfter)) return;
    this.#say('error', `${this.policy.name} was valid until ${this.policy.notAfter}: it is out of force`);
    this.policy = undefined;
    this.#sandbox?.stop();
    this.#sandbox = undefined;
  }

  /** Whether it decides about a virtual host. */
  covers(host: string): boolean {
    const scope = this.policy?.scope ?? [];
    return scope.includes('*') || scope.includes(host);
  }

  /** @returns none where it has no value */
  async call(rows: readonly (readonly number[])[]): Promise<number[]> {
    const sandbox = this.#sandbox;
    if (sandbox === undefined || rows.length === 0) return [];
    const wasOut = sandbox.isOut;
    const values = await sandbox.call(rows);
    if (sandbox.problem !== '' && sandbox === this.#sandbox)
      this.#say(
        'error',
        `${this.policy?.name}: ${sandbox.problem}${sandbox.isOut ? '; it is not run any more' : ''}`,
      );
    return wasOut ? [] : values;
  }

  #say(level: 'info' | 'error', message: string): void {
    if (message === this.#said) return;
    this.#said = message;
    this.events.say(level, 'policy', this.kind, message);
  }

  /** For status. */
  get state(): Record<string, unknown> {
    return { name: this.policy?.name, version: this.policy?.version, kind: this.kind, said: this.#said };
  }

  stop(): void {
    this.#sandbox?.stop();
  }
}
