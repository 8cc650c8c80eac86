/**
 * Policies of one host: DIR/NAME/VERSION.policy, and a link `current` that roles read. A role takes over a changed link within
 * its interval.
 */
import type { KeyObject } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type Policy, PolicyError, readPolicy } from './signed.js';

const CURRENT = 'current';
const fileOf = (version: number): string => `${version}.policy`;

export interface Installed {
  name: string;
  versions: number[];
  /** 0 where no version is in force. */
  current: number;
}

export class PolicyStore {
  constructor(readonly directory: string) {}

  /**
   * Puts a policy in force.
   * @throws PolicyError for one that is not the operator's, and for a version that is not newer than all that were installed
   */
  install(text: string, key: KeyObject, nowMs: number): Policy {
    const policy = readPolicy(text, key, nowMs);
    const { name, version } = policy;
    const newest = Math.max(0, ...this.#versions(name));
    if (version <= newest)
      throw new PolicyError(`version ${version} of ${name} is not newer than ${newest}, which was installed`);
    mkdirSync(`${this.directory}/${name}`, { recursive: true });
    writeFileSync(`${this.directory}/${name}/${fileOf(version)}`, text);
    this.#point(name, version);
    return policy;
  }

  /**
   * Puts the version before the present one in force again.
   * @returns that version
   * @throws PolicyError where there is none
   */
  rollback(name: string): number {
    const current = this.#current(name);
    const before = Math.max(0, ...this.#versions(name).filter((v) => v < current));
    if (before === 0) throw new PolicyError(`there is no version of ${name} before ${current}`);
    this.#point(name, before);
    return before;
  }

  list(): Installed[] {
    if (!existsSync(this.directory)) return [];
    return readdirSync(this.directory, { withFileTypes: true })
      .filter((d) => d.isDirectory())
      .map(({ name }) => ({ name, versions: this.#versions(name), current: this.#current(name) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #versions(name: string): number[] {
    const at = `${this.directory}/${name}`;
    if (!existsSync(at)) return [];
    return readdirSync(at)
      .flatMap((f) => (/^\d+\.policy$/.test(f) ? [Number.parseInt(f, 10)] : []))
      .sort((a, b) => a - b);
  }

  #current(name: string): number {
    try {
      return Number.parseInt(readlinkSync(`${this.directory}/${name}/${CURRENT}`), 10);
    } catch {
      return 0;
    }
  }

  /** Atomic: who reads the link finds the one or the other. */
  #point(name: string, version: number): void {
    const link = `${this.directory}/${name}/${CURRENT}`;
    const next = `${link}.${process.pid}`;
    symlinkSync(fileOf(version), next);
    renameSync(next, link);
  }
}

/** @throws PolicyError when the file cannot be read */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new PolicyError(`it cannot be read: ${(error as Error).message}`);
  }
}
