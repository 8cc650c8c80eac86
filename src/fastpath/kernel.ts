/**
 * The control plane's side of the fast path: makes an instance's maps or takes over those that a killed predecessor left,
 * loads the program's hooks, attaches them (`attach.ts`), and takes everything back.
 *
 * All of it is pinned under one directory per instance, `<bpffs>/firstack/<instance>/`, so that flows outlive the process.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import { cpus } from 'node:os';
import { FirstackError } from '../errors.js';
import { attempt, command } from '../steer/apply.js';
import type { Prefix } from '../wire/address.js';
import { Filters } from './attach.js';
import { CLIENT_KEY, CLIENT_VALUE, SETTINGS, settings, TOTALS, word64, writeClient } from './layout.js';
import { type Attachment, type HookSet, MAX_CLIENTS, type MapShape } from './maps.js';
import { bpf, hookObject } from './native.js';

const BPF_DIRECTORY = process.env.FIRSTACK_BPF_DIR ?? '/sys/fs/bpf';
const BPF_FS_MAGIC = 0xcafe4a11;
const FORWARD_BY_STACK = 1;

export interface KernelSettings {
  /** Translate only, and let the host's stack forward. */
  stack: boolean;
  /** Of packets that were translated here and go on through the stack. */
  mark: number;
  mask: number;
  tun: string;
  /** Prefixes of the clients whose connections the hooks may take. */
  clients: readonly Prefix[];
}

/** Why there can be no fast path here, or ''. @param object the program's name */
export async function whyUnavailable(object: string): Promise<string> {
  if (!existsSync(hookObject(object))) return 'the eBPF hooks were not built (clang, libbpf-dev)';
  try {
    if (statfsSync(BPF_DIRECTORY).type !== BPF_FS_MAGIC)
      return `${BPF_DIRECTORY} is no bpffs (mount -t bpf bpf ${BPF_DIRECTORY})`;
  } catch {
    return `${BPF_DIRECTORY} is not there`;
  }
  for (const tool of ['bpftool', 'tc']) {
    if (!(await attempt(tool, ['-V']))) return `the program '${tool}' is not installed`;
  }
  return '';
}

export class KernelPath {
  readonly #directory: string;
  readonly #filters: Filters;
  readonly #fds = new Map<string, number>();
  /** Flows of a predecessor are there. */
  adopting = false;

  /**
   * @param pref of its filters, among those of other instances
   * @param hooks undefined where only what is left is taken away
   */
  constructor(
    readonly instance: string,
    pref: number,
    readonly hooks?: HookSet,
  ) {
    this.#directory = `${BPF_DIRECTORY}/firstack/${instance}`;
    this.#filters = new Filters(instance, pref);
  }

  /** The descriptor of a map. */
  descriptor(map: string): number {
    return this.#fds.get(map)!;
  }

  /** What the data plane works with: the maps' descriptors by name, and `after` (packets before a flow is pinned). */
  handles(after: number): Record<string, number> {
    return { ...Object.fromEntries(this.#fds), after };
  }

  /** Whether a predecessor left something. */
  get isLeft(): boolean {
    return existsSync(this.#directory) || this.#filters.areLeft;
  }

  /**
   * Maps and hooks, pinned; nothing is attached yet. Maps of another shape are a version's or a size's that is no more:
   * they are removed.
   * @throws Error with the kernel's words
   */
  async load(): Promise<void> {
    const { maps, object } = this.hooks!;
    if (this.isLeft && !this.#open(maps)) await this.remove();
    mkdirSync(`${this.#directory}/maps`, { recursive: true, mode: 0o700 });
    for (const s of maps) {
      if (this.#fds.has(s.name)) continue;
      rmSync(this.#mapPath(s.name), { force: true });
      const fd = bpf.createMap(s.type, s.key, s.value, s.entries, s.flags ?? 0, s.name);
      bpf.pin(fd, this.#mapPath(s.name));
      this.#fds.set(s.name, fd);
    }
    // Hooks of this version, over the maps of the one before, which called them programs.
    for (const name of ['hooks', 'programs'])
      rmSync(`${this.#directory}/${name}`, { recursive: true, force: true });
    const pinned = maps.flatMap((s) => ['map', 'name', s.name, 'pinned', this.#mapPath(s.name)]);
    await command('bpftool', ['prog', 'loadall', hookObject(object), `${this.#directory}/hooks`, ...pinned]);
  }

  #mapPath(name: string): string {
    return `${this.#directory}/maps/${name}`;
  }

  /** Takes over a predecessor's maps; false when they are not all there, or not as they should be. */
  #open(wanted: readonly MapShape[]): boolean {
    const words = new Uint8Array(16);
    try {
      for (const s of wanted) {
        if (s.isFresh === true) continue;
        const fd = bpf.get(this.#mapPath(s.name));
        this.#fds.set(s.name, fd);
        bpf.mapShape(fd, words);
        const found = new Uint32Array(words.buffer);
        if ([s.type, s.key, s.value, s.entries].some((n, i) => n !== found[i])) throw new Error(s.name);
      }
      this.adopting = true;
      return true;
    } catch {
      this.#closeAll();
      return false;
    }
  }

  /** Puts the hooks on their interfaces; a predecessor's are replaced without a gap. */
  async attach(attachments: readonly Attachment[], how: KernelSettings): Promise<void> {
    await this.configure(how);
    const pathOf = (a: Attachment): string =>
      `${this.#directory}/hooks/${a.hook}_${a.ethernet ? 'l2' : 'l3'}`;
    await this.#filters.attach(attachments, this.hooks!.handles, pathOf);
  }

  async configure(how: KernelSettings): Promise<void> {
    if (this.#fds.has('settings')) await this.#setSettings(how);
    if (this.#fds.has('clients')) this.#setClients(how.clients);
  }

  async #setSettings(how: KernelSettings): Promise<void> {
    const links = JSON.parse(await command('ip', ['-j', 'link', 'show', 'dev', how.tun])) as {
      ifindex: number;
    }[];
    const value = new DataView(new ArrayBuffer(SETTINGS));
    value.setUint32(settings.flags, how.stack ? FORWARD_BY_STACK : 0, true);
    value.setUint32(settings.mark, how.mark, true);
    value.setUint32(settings.mask, how.mask, true);
    value.setUint32(settings.tun, links[0].ifindex, true);
    const bytes = new Uint8Array(value.buffer);
    bpf.update(this.descriptor('settings'), new Uint8Array(4), 4, bytes, SETTINGS, 1);
  }

  /** Clients beyond {@link MAX_CLIENTS} prefixes go through the stack. */
  #setClients(prefixes: readonly Prefix[]): void {
    const count = Math.min(prefixes.length, MAX_CLIENTS);
    const keys = new Uint8Array(count * CLIENT_KEY);
    const values = new Uint8Array(count * CLIENT_VALUE);
    const view = new DataView(keys.buffer);
    for (let k = 0; k < count; k++) writeClient(view, k * CLIENT_KEY, prefixes[k]);
    bpf.update(this.descriptor('clients'), keys, CLIENT_KEY, values, CLIENT_VALUE, count);
  }

  /** What the hooks counted, over all processors. */
  totals(): Record<string, number> {
    const fd = this.#fds.get('totals');
    if (fd === undefined) return {};
    const size = 8 * TOTALS.length;
    const values = new Uint8Array(size * possibleCpus());
    const view = new DataView(values.buffer);
    bpf.lookup(fd, new Uint8Array(4), values);
    return Object.fromEntries(
      TOTALS.map((name, k) => {
        let sum = 0;
        for (let at = 8 * k; at < values.length; at += size) sum += word64(view, at);
        return [name, sum];
      }),
    );
  }

  /** Takes the hooks off their interfaces, a predecessor's too. Harmless when there are none. */
  detach(): Promise<void> {
    return this.#filters.detach();
  }

  /** Takes back what is attached and pinned. Requires that the maps are not used any more. */
  async remove(): Promise<void> {
    await this.detach();
    rmSync(this.#directory, { recursive: true, force: true });
    const home = `${BPF_DIRECTORY}/firstack`;
    try {
      if (readdirSync(home).length === 0) rmdirSync(home);
    } catch {
      // Another instance has removed it already; or the package made it, in a directory that is root's.
    }
    this.#closeAll();
    this.adopting = false;
  }

  #closeAll(): void {
    for (const fd of this.#fds.values()) bpf.close(fd);
    this.#fds.clear();
  }
}

/** Per-CPU values come one for each processor that there could be. */
function possibleCpus(): number {
  try {
    const last = /(\d+)\s*$/.exec(readFileSync('/sys/devices/system/cpu/possible', 'utf8'));
    return Number(last![1]) + 1;
  } catch {
    return cpus().length;
  }
}

/** Takes away what a killed process left pinned: its connections end. @returns whether there was anything */
export async function unpin(instance: string): Promise<boolean> {
  const path = new KernelPath(instance, 0);
  if (!path.isLeft) return false;
  await path.remove();
  return true;
}

export function unavailable(why: string): FirstackError {
  return new FirstackError('FSA_FASTPATH_UNAVAILABLE', `fastpath: ${why}`);
}
