/**
 * The base of the speed bench: worlds (see `world.ts`), C programs that are compiled into a temporary directory, and
 * the processes of both. It is recorded like a laboratory, under the name `bench`: what a killed bench leaves behind,
 * the next one or `lab down --name bench` removes.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { FirstackError } from '../../errors.js';
import { onEnd } from '../ending.js';
import { requireRoot } from '../lab.js';
import { packageRoot } from '../paths.js';
import {
  identify,
  inNamespace,
  mustRun,
  type Output,
  type ProcessId,
  spawnLogged,
  tail,
  waitUntil,
} from '../process.js';
import { LabState, removeAtOnce } from '../state.js';
import { World, type WorldSpec } from './world.js';

const BENCH = 'bench';
/** Longer than any command takes. */
const PATIENCE_MS = 150_000;
const SOURCES = `${packageRoot}/test/bench`;
const PROGRAMS = ['load', 'blast', 'tun-nat'] as const;
export type Program = (typeof PROGRAMS)[number];

export class Testbed {
  readonly worlds = new Map<string, World>();
  /** Whether the keys of all roles are in the directory. */
  hasKeys = false;
  #forget = () => {};
  #gone: Promise<void> | undefined;

  private constructor(
    readonly state: LabState,
    readonly say: (line: string) => void,
  ) {}

  /** Builds all worlds; they are idle until their turn. @throws FirstackError; then nothing is left behind */
  static async create(specs: readonly WorldSpec[], say: (line: string) => void): Promise<Testbed> {
    requireRoot();
    const state = await LabState.claim({
      name: BENCH,
      owner: identify(process.pid) ?? null,
      namespaces: specs.flatMap((s) => World.namespacesOf(s)).map((name) => ({ name })),
      processes: [],
      instances: specs.flatMap((s) => World.instancesOf(s)),
      topology: 'worlds',
      hosts: {},
      services: [],
    });
    const bed = new Testbed(state, say);
    bed.#forget = onEnd({ orderly: () => bed.down(), atOnce: () => removeAtOnce(state) });
    try {
      await bed.#build(specs);
    } catch (error) {
      await bed.down();
      throw error;
    }
    return bed;
  }

  async #build(specs: readonly WorldSpec[]): Promise<void> {
    this.say(`worlds: ${specs.map((s) => s.name).join(', ')}`);
    await this.state.mountBpf();
    await this.#compile();
    for (const spec of specs) {
      const world = new World(this, spec);
      this.worlds.set(spec.name, world);
      await world.createNetwork();
      this.state.noteNamespaces();
    }
    for (const world of this.worlds.values()) await world.start();
  }

  async #compile(): Promise<void> {
    if (!existsSync(SOURCES))
      throw new FirstackError('FSA_TOOL_MISSING', `${SOURCES} is not in this package`);
    const gcc = ['gcc', '-std=gnu11', '-O2', '-pthread'];
    await Promise.all(PROGRAMS.map((p) => mustRun([...gcc, '-o', this.program(p), `${SOURCES}/${p}.c`])));
  }

  /** Loads a hook that does nothing, and pins it beside the roles' own hooks. */
  async loadEmptyProgram(): Promise<string> {
    const object = `${this.directory}/empty.bpf.o`;
    const machine = (await mustRun(['uname', '-m'])).trim();
    const clang = ['clang', '-O2', '-target', 'bpf', `-I/usr/include/${machine}-linux-gnu`];
    await mustRun([...clang, '-c', `${SOURCES}/empty.bpf.c`, '-o', object]);
    const path = `${this.state.bpfDirectory}/empty`;
    await mustRun(['bpftool', 'prog', 'load', object, path]);
    return path;
  }

  get directory(): string {
    return this.state.directory;
  }

  program(name: Program): string {
    return `${this.directory}/${name}`;
  }

  world(name: string): World {
    return this.worlds.get(name)!;
  }

  /** Starts a process that keeps running. */
  spawn(what: string, namespace: string, argv: string[]): ProcessId {
    const child = spawnLogged(inNamespace(namespace, argv), this.logFile(what));
    return this.state.noteProcess(what, child.pid);
  }

  /** Runs a command until it ends; if the bench ends earlier, the command is ended too. */
  run(namespace: string, argv: string[]): Promise<Output> {
    const [command, ...args] = inNamespace(namespace, argv);
    return new Promise((resolve) => {
      const child = execFile(command, args, { timeout: PATIENCE_MS }, (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 127;
        resolve({ status, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
      });
      try {
        this.state.noteProcess('load', child.pid);
      } catch {
        // The command ended at once; its output is reported.
      }
    });
  }

  logFile(what: string): string {
    return `${this.directory}/${what}.log`;
  }

  /** Waits until a started process is ready. @throws FirstackError with the end of its log */
  async until(what: string, ready: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
    const ended = (): boolean => this.state.find(what) === undefined;
    if ((await waitUntil(async () => ended() || (await ready()), timeoutMs, 20)) && !ended()) return;
    throw new FirstackError(
      'FSA_LAB_FAILED',
      `bench: ${what} is not ready; its log:\n${tail(this.logFile(what))}`,
    );
  }

  down(): Promise<void> {
    this.#gone ??= (async () => {
      await this.state.remove();
      this.#forget();
    })();
    return this.#gone;
  }
}
