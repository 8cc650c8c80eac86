/**
 * A record on disk of everything that a laboratory makes, written before it is made. If the laboratory's owner dies,
 * `down` or the next start finds the record, and removes these things and nothing else.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import { deleteNamespaces, inodeOf } from './network.js';
import { instanceRoot, labRoot, namespaceRoot } from './paths.js';
import { endAll, identify, isAlive, type ProcessId, run, signal } from './process.js';
import type { Service } from './topology.js';

export interface LabProcess extends ProcessId {
  /** The process's name: `emulator`, `redis`, `gateway`, `nginx-r1`, or the command that was run. */
  what: string;
}

export interface LabRecord {
  name: string;
  /** The process that removes the laboratory when it ends; null once the laboratory was left running (`lab up`). */
  owner: ProcessId | null;
  namespaces: { name: string; inode?: number }[];
  processes: LabProcess[];
  /** The roles' instances; a killed role leaves their directories behind. */
  instances: string[];
  topology: string;
  /** The hosts with their WAN or LAN address, for `lab up` and for users who read this file. */
  hosts: Record<string, string>;
  services: Service[];
}

const NAME = /^[a-z0-9-]{1,20}$/;

export class LabState {
  readonly directory: string;
  private constructor(readonly record: LabRecord) {
    this.directory = directoryOf(record.name);
  }

  /**
   * Claims the name, and cleans up after a laboratory of that name whose owner has died.
   * @throws FirstackError FSA_LAB_EXISTS
   */
  static async claim(record: LabRecord): Promise<LabState> {
    const { name } = record;
    if (!NAME.test(name)) {
      throw new FirstackError('FSA_USAGE', `laboratory name '${name}': 1 to 20 of a-z, 0-9 and '-'`);
    }
    const previous = LabState.read(name);
    if (previous !== undefined) {
      if (previous.isLiving()) throw alreadyExists(name);
      await previous.remove();
    }
    const foreign = record.namespaces.filter((n) => existsSync(`${namespaceRoot}/${n.name}`));
    if (foreign.length > 0) {
      throw new FirstackError(
        'FSA_LAB_EXISTS',
        `network namespace ${foreign[0].name} exists and belongs to no laboratory that is recorded here`,
      );
    }
    mkdirSync(labRoot, { recursive: true });
    // Renaming a filled directory into place is atomic: of two laboratories that start at once, only one gets the
    // name.
    const fresh = `${labRoot}/.${name}-${process.pid}`;
    mkdirSync(fresh);
    writeFileSync(`${fresh}/state.json`, JSON.stringify(record, null, 2));
    try {
      renameSync(fresh, directoryOf(name));
    } catch {
      rmSync(fresh, { recursive: true });
      throw alreadyExists(name);
    }
    return new LabState(record);
  }

  /** @returns undefined when there is no laboratory of that name, running or dead */
  static read(name: string): LabState | undefined {
    if (!NAME.test(name)) return undefined;
    try {
      return new LabState(JSON.parse(readFileSync(`${directoryOf(name)}/state.json`, 'utf8')));
    } catch {
      return undefined;
    }
  }

  /** @throws FirstackError FSA_LAB_UNKNOWN */
  static existing(name: string): LabState {
    const state = LabState.read(name);
    if (state === undefined) {
      const known = existsSync(labRoot) ? readdirSync(labRoot).filter((d) => NAME.test(d)) : [];
      const hint = known.length === 0 ? 'none is up' : `known: ${known.join(', ')}`;
      throw new FirstackError('FSA_LAB_UNKNOWN', `no laboratory '${name}' (${hint})`);
    }
    return state;
  }

  isLiving(): boolean {
    const { owner, processes } = this.record;
    return owner === null ? processes.some(isAlive) : isAlive(owner);
  }

  save(): void {
    const file = `${this.directory}/state.json`;
    writeFileSync(`${file}.new`, JSON.stringify(this.record, null, 2));
    renameSync(`${file}.new`, file);
  }

  noteNamespaces(): void {
    for (const n of this.record.namespaces) n.inode = inodeOf(n.name);
    this.save();
  }

  /** @throws FirstackError FSA_LAB_FAILED when the process ended before it could be recorded */
  noteProcess(what: string, pid: number | undefined): LabProcess {
    const id = pid === undefined ? undefined : identify(pid);
    if (id === undefined) throw new FirstackError('FSA_LAB_FAILED', `${what} could not be started`);
    const noted = { what, ...id };
    this.record.processes = [...this.record.processes.filter(isAlive), noted];
    this.save();
    return noted;
  }

  find(what: string): LabProcess | undefined {
    return this.record.processes.find((p) => p.what === what && isAlive(p));
  }

  /** The directory in which the roles pin their maps: a bpffs of this laboratory, which is removed with it. */
  get bpfDirectory(): string {
    return `${this.directory}/bpf`;
  }

  /** On a kernel without bpffs the roles run without the fast path, and report that. */
  async mountBpf(): Promise<void> {
    mkdirSync(this.bpfDirectory);
    await run(['mount', '-t', 'bpf', 'bpf', this.bpfDirectory]);
  }

  /** Ends and deletes everything that is recorded, and at last the record. */
  async remove(): Promise<void> {
    const { processes, namespaces, instances, name } = this.record;
    const isRole = (p: LabProcess) => instances.includes(`lab-${name}-${p.what}`);
    // The roles first, while their registry and their namespaces still exist.
    await endAll(processes.filter(isRole));
    await endAll(processes.filter((p) => !isRole(p)));
    await deleteNamespaces(namespaces);
    forget(this, instances);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Removes everything at once and by force, for a process that is ending and cannot wait. */
export function removeAtOnce(state: LabState): void {
  const { processes, namespaces, instances } = state.record;
  for (const p of processes) signal(p, 'SIGKILL');
  for (const n of namespaces) {
    if (n.inode !== undefined && inodeOf(n.name) === n.inode) spawnSync('ip', ['netns', 'del', n.name]);
  }
  forget(state, instances);
  rmSync(state.directory, { recursive: true, force: true });
}

/** Removes the directories that killed roles left behind. */
function forget(state: LabState, instances: readonly string[]): void {
  for (const instance of instances) rmSync(`${instanceRoot}/${instance}`, { recursive: true, force: true });
  if (existsSync(state.bpfDirectory)) spawnSync('umount', ['-l', state.bpfDirectory]);
}

function directoryOf(name: string): string {
  return `${labRoot}/${name}`;
}

function alreadyExists(name: string): FirstackError {
  return new FirstackError(
    'FSA_LAB_EXISTS',
    `laboratory '${name}' is up; remove it with 'lab down --name ${name}', or choose another --name`,
  );
}
