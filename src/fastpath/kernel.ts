/**
 * The control plane's side of the fast path: makes an instance's maps or takes over those of a killed predecessor,
 * loads the program's hooks, attaches them (`attach.ts`), and removes everything again.
 *
 * Everything is pinned under one directory per instance, `<bpffs>/firstack/<instance>/`, so that flows outlive the
 * process.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import { cpus } from 'node:os';
import { FirstackError } from '../errors.js';
import type { Deviation } from '../steer/standing.js';
import { command, isInstalled } from '../steer/tools.js';
import type { Prefix } from '../wire/address.js';
import { Filters } from './attach.js';
import { CLIENT_KEY, CLIENT_VALUE, SETTINGS, settings, TOTALS, word64, writeClient } from './layout.js';
import { type Attachment, type HookSet, MAX_CLIENTS, type MapShape } from './maps.js';
import { bpf, hookObject } from './native.js';

const BPF_DIRECTORY = process.env.FIRSTACK_BPF_DIR ?? '/sys/fs/bpf';
const BPF_FS_MAGIC = 0xcafe4a11;
const FORWARD_BY_STACK = 1;

export interface KernelSettings {
  /** The hooks only translate; the host's stack forwards. */
  stack: boolean;
  /** The mark of packets that the hooks translated and left to the stack. */
  mark: number;
  mask: number;
  tun: string;
  /** Prefixes of the clients whose connections the hooks may carry. */
  clients: readonly Prefix[];
}

/**
 * The reason why the fast path is unavailable here, or ''.
 * @param object the program's name
 */
export async function whyUnavailable(object: string): Promise<string> {
  if (!existsSync(hookObject(object))) return 'the eBPF hooks were not built (clang, libbpf-dev)';
  try {
    if (statfsSync(BPF_DIRECTORY).type !== BPF_FS_MAGIC)
      return `${BPF_DIRECTORY} is no bpffs (mount -t bpf bpf ${BPF_DIRECTORY})`;
  } catch {
    return `${BPF_DIRECTORY} is not there`;
  }
  for (const tool of ['bpftool', 'tc']) {
    if (!isInstalled(tool)) return `the program '${tool}' is not installed`;
  }
  return '';
}

export class KernelPath {
  readonly #directory: string;
  readonly #filters: Filters;
  readonly #fds = new Map<string, number>();
  #attachments: readonly Attachment[] = [];
  #clientKeys: readonly Uint8Array[] = [];
  /** Whether a predecessor's flows were taken over. */
  adopting = false;

  /**
   * @param pref preference of this instance's filters
   * @param hooks undefined where this object only removes what a predecessor left
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

  /**
   * What the data plane works with: the maps' descriptors by name, and `after` (the packets before a flow is pinned).
   */
  handles(after: number): Record<string, number> {
    return { ...Object.fromEntries(this.#fds), after };
  }

  /** Whether a predecessor left maps, hooks or attachments. */
  get isLeft(): boolean {
    return existsSync(this.#directory) || this.#filters.areLeft;
  }

  /**
   * Makes and pins maps and hooks; attaches nothing yet. Maps of another shape belong to another version or size:
   * they are removed.
   * @throws Error with the kernel's message
   */
  async load(): Promise<void> {
    const { maps } = this.hooks!;
    if (this.isLeft && !this.#open(maps)) await this.remove();
    mkdirSync(`${this.#directory}/maps`, { recursive: true, mode: 0o700 });
    for (const s of maps) {
      if (this.#fds.has(s.name)) continue;
      rmSync(this.#mapPath(s.name), { force: true });
      const fd = bpf.createMap(s.type, s.key, s.value, s.entries, s.flags ?? 0, s.name);
      bpf.pin(fd, this.#mapPath(s.name));
      this.#fds.set(s.name, fd);
    }
    await this.#loadHooks();
  }

  async #loadHooks(): Promise<void> {
    const { maps, object } = this.hooks!;
    // Replaces the hooks and keeps the maps. An earlier version pinned its hooks under the name `programs`.
    for (const name of ['hooks', 'programs'])
      rmSync(`${this.#directory}/${name}`, { recursive: true, force: true });
    const pinned = maps.flatMap((s) => ['map', 'name', s.name, 'pinned', this.#mapPath(s.name)]);
    await command('bpftool', ['prog', 'loadall', hookObject(object), `${this.#directory}/hooks`, ...pinned]);
  }

  #mapPath(name: string): string {
    return `${this.#directory}/maps/${name}`;
  }

  /** Takes over a predecessor's maps; returns false when one is missing or has another shape. */
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

  /** Attaches the hooks to their interfaces; a predecessor's hooks are replaced without a gap. */
  async attach(attachments: readonly Attachment[], how: KernelSettings): Promise<void> {
    await this.configure(how);
    this.#attachments = attachments;
    await this.#attachTo(attachments);
  }

  #attachTo(attachments: readonly Attachment[]): Promise<void> {
    return this.#filters.attach(attachments, this.hooks!.handles, (a) => this.#hookPath(a));
  }

  /** Attaches the hooks again where their interfaces exist: one that is gone must not keep the others bare. */
  async #attachAgain(): Promise<void> {
    const links = JSON.parse(await command('ip', ['-j', 'link', 'show'])) as { ifname: string }[];
    const names = new Set(links.map((l) => l.ifname));
    await this.#attachTo(this.#attachments.filter((a) => names.has(a.interface)));
  }

  #hookPath(a: Attachment): string {
    return `${this.#directory}/hooks/${a.hook}_${a.ethernet ? 'l2' : 'l3'}`;
  }

  /** Hooks that are not attached any more, and pins that were removed. */
  async deviations(isWhole: boolean): Promise<Deviation[]> {
    if (this.#attachments.length === 0) return [];
    // The kernel announces changes of tc, and none of bpffs.
    const missing = isWhole ? await this.#filters.missing(this.#attachments, this.hooks!.handles) : [];
    const out: Deviation[] = missing.map((a) => ({
      what: 'hook',
      subject: `tc ${a.direction} hook ${a.hook} on ${a.interface}`,
      detail: 'was removed',
      repair: () => this.#attachAgain(),
    }));
    if (this.#attachments.some((a) => !existsSync(this.#hookPath(a))))
      out.unshift({
        ...{ what: 'pin', subject: `${this.#directory}/hooks`, detail: 'was removed' },
        repair: async () => {
          await this.#loadHooks();
          await this.#attachAgain();
        },
      });
    const unpinned = [...this.#fds].filter(([name]) => !existsSync(this.#mapPath(name)));
    if (unpinned.length > 0)
      out.unshift({
        ...{ what: 'pin', subject: `${this.#directory}/maps`, detail: 'was removed' },
        repair: async () => {
          mkdirSync(`${this.#directory}/maps`, { recursive: true, mode: 0o700 });
          for (const [name, fd] of unpinned) bpf.pin(fd, this.#mapPath(name));
        },
      });
    return out;
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

  /** The clients of prefixes beyond the first {@link MAX_CLIENTS} go through the stack. */
  #setClients(prefixes: readonly Prefix[]): void {
    for (const key of this.#clientKeys) bpf.remove(this.descriptor('clients'), key, CLIENT_KEY, 1);
    const count = Math.min(prefixes.length, MAX_CLIENTS);
    const keys = new Uint8Array(count * CLIENT_KEY);
    const values = new Uint8Array(count * CLIENT_VALUE);
    const view = new DataView(keys.buffer);
    for (let k = 0; k < count; k++) writeClient(view, k * CLIENT_KEY, prefixes[k]);
    bpf.update(this.descriptor('clients'), keys, CLIENT_KEY, values, CLIENT_VALUE, count);
    this.#clientKeys = prefixes
      .slice(0, count)
      .map((_, k) => keys.slice(k * CLIENT_KEY, (k + 1) * CLIENT_KEY));
  }

  /** The hooks' counters, summed over all processors. */
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

  /** Detaches the hooks, a predecessor's too. Does nothing when there are none. */
  detach(): Promise<void> {
    return this.#filters.detach();
  }

  /** Removes all attachments and pins. Requires that the maps are no longer used. */
  async remove(): Promise<void> {
    await this.detach();
    rmSync(this.#directory, { recursive: true, force: true });
    const home = `${BPF_DIRECTORY}/firstack`;
    try {
      if (readdirSync(home).length === 0) rmdirSync(home);
    } catch {
      // Another instance has removed the directory already; or the package made it, inside a directory of root's.
    }
    this.#closeAll();
    this.adopting = false;
  }

  #closeAll(): void {
    for (const fd of this.#fds.values()) bpf.close(fd);
    this.#fds.clear();
  }
}

/** A per-CPU map returns one value for each possible processor. */
function possibleCpus(): number {
  try {
    const last = /(\d+)\s*$/.exec(readFileSync('/sys/devices/system/cpu/possible', 'utf8'));
    return Number(last![1]) + 1;
  } catch {
    return cpus().length;
  }
}

/**
 * Removes what a killed process left pinned, which ends its connections.
 * @returns whether there was anything to remove
 */
export async function unpin(instance: string): Promise<boolean> {
  const path = new KernelPath(instance, 0);
  if (!path.isLeft) return false;
  await path.remove();
  return true;
}

export function unavailable(why: string): FirstackError {
  return new FirstackError('FSA_FASTPATH_UNAVAILABLE', `fastpath: ${why}`);
}
