/**
 * The control plane's side of the fast path: makes an instance's maps or takes over those that a killed
 * predecessor left, loads the programs, puts them on interfaces with `tc`, and takes everything back.
 *
 * All of it is pinned under one directory per instance, `<bpffs>/firstack/<instance>/`, so that flows outlive
 * the process. What was attached where is recorded beside it under the run directory.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { cpus } from 'node:os';
import { FirstackError } from '../errors.js';
import { attempt, command, forgetRecord, RUN_DIRECTORY } from '../steer/apply.js';
import type { Prefix } from '../wire/address.js';
import {
  CLIENT_KEY,
  CLIENT_VALUE,
  ENDPOINT_KEY,
  ENDPOINT_VALUE,
  FLOW_KEY,
  FLOW_VALUE,
  OPENING,
  OPENINGS,
  SETTINGS,
  TICKETS,
  TOTALS,
  WINNER,
  word64,
  writeClient,
} from './layout.js';
import { ARRAY, bpf, HASH, LPM_TRIE, MMAPABLE, NO_PREALLOC, PERCPU_ARRAY, PROGRAMS } from './native.js';
import type { PinFds } from './pins.js';

const BPF_DIRECTORY = process.env.FIRSTACK_BPF_DIR ?? '/sys/fs/bpf';
const BPF_FS_MAGIC = 0xcafe4a11;
const MAX_ENDPOINTS = 65_536;
const MAX_WINNERS = 8192;
const MAX_CLIENTS = 4096;
/** Where two programs stand on one interface they follow each other by handle; instances differ by `pref`. */
const HANDLES = {
  gateway_lan: '0x1',
  gateway_wan: '0x2',
  gateway_tun: '0x3',
  replica_in: '0x1',
  replica_out: '0x2',
} as const;
const RECORD = 'fastpath.json';

export type ProgramName = keyof typeof HANDLES;

/** A program on an interface. */
export interface Attachment {
  interface: string;
  direction: 'ingress' | 'egress';
  program: ProgramName;
  /** The interface has Ethernet headers. */
  ethernet: boolean;
}

export interface KernelSettings {
  /** Translate only, and let the host's stack forward. */
  stack: boolean;
  /** Of packets that were translated here and go on through the stack. */
  mark: number;
  mask: number;
  tun: string;
  /** Whose connections these are. */
  clients: readonly Prefix[];
}

interface Attached {
  pref: number;
  filters: { interface: string; direction: string; handle: string }[];
  /** Interfaces whose clsact is ours. */
  clsact: string[];
}

interface MapShape {
  name: 'flows' | 'endpoints' | 'settings' | 'clients' | 'totals' | 'winners' | 'openings' | 'tickets';
  type: number;
  key: number;
  value: number;
  entries: number;
  flags?: number;
  /** A predecessor's is not taken over. */
  isFresh?: boolean;
}

const shapes = (maxFlows: number): MapShape[] => [
  { name: 'flows', type: HASH, key: FLOW_KEY, value: FLOW_VALUE, entries: maxFlows },
  { name: 'endpoints', type: HASH, key: ENDPOINT_KEY, value: ENDPOINT_VALUE, entries: MAX_ENDPOINTS },
  { name: 'settings', type: ARRAY, key: 4, value: SETTINGS, entries: 1 },
  {
    name: 'clients',
    type: LPM_TRIE,
    key: CLIENT_KEY,
    value: CLIENT_VALUE,
    entries: MAX_CLIENTS,
    flags: NO_PREALLOC,
    isFresh: true,
  },
  {
    name: 'totals',
    type: PERCPU_ARRAY,
    key: 4,
    value: 8 * TOTALS.length,
    entries: 1,
    isFresh: true,
  },
  { name: 'winners', type: HASH, key: FLOW_KEY, value: WINNER, entries: MAX_WINNERS },
  { name: 'openings', type: ARRAY, key: 4, value: OPENING, entries: OPENINGS, flags: MMAPABLE },
  { name: 'tickets', type: ARRAY, key: 4, value: TICKETS, entries: 1, flags: MMAPABLE },
];

/** Why there can be no fast path here, or ''. */
export async function whyUnavailable(): Promise<string> {
  if (!existsSync(PROGRAMS)) return 'the eBPF programs were not built (clang, libbpf-dev)';
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
  readonly #record: string;
  readonly #fds = new Map<string, number>();
  /** Flows of a predecessor are there. */
  adopting = false;

  constructor(
    readonly instance: string,
    readonly pref: number,
  ) {
    this.#directory = `${BPF_DIRECTORY}/firstack/${instance}`;
    this.#record = `${RUN_DIRECTORY}/${instance}/${RECORD}`;
  }

  get flows(): number {
    return this.#fds.get('flows')!;
  }

  /** What the data plane works with. */
  pinFds(after: number): PinFds {
    const fd = (name: MapShape['name']): number => this.#fds.get(name)!;
    return {
      flows: fd('flows'),
      endpoints: fd('endpoints'),
      winners: fd('winners'),
      openings: fd('openings'),
      tickets: fd('tickets'),
      after,
    };
  }

  /** Whether a predecessor left something. */
  get isLeft(): boolean {
    return existsSync(this.#directory) || existsSync(this.#record);
  }

  /**
   * Maps and programs, pinned; nothing is attached yet. Maps of another shape are a version's or a size's
   * that is no more: they go.
   * @throws Error with the kernel's words
   */
  async load(maxFlows: number): Promise<void> {
    if (this.isLeft && !this.#open(shapes(maxFlows))) await this.remove();
    mkdirSync(`${this.#directory}/maps`, { recursive: true, mode: 0o700 });
    for (const s of shapes(maxFlows)) {
      if (this.#fds.has(s.name)) continue;
      rmSync(this.#mapPath(s.name), { force: true });
      const fd = bpf.createMap(s.type, s.key, s.value, s.entries, s.flags ?? 0, s.name);
      bpf.pin(fd, this.#mapPath(s.name));
      this.#fds.set(s.name, fd);
    }
    // Programs of now, over the maps of before.
    rmSync(`${this.#directory}/programs`, { recursive: true, force: true });
    const maps = shapes(maxFlows).flatMap((s) => ['map', 'name', s.name, 'pinned', this.#mapPath(s.name)]);
    await command('bpftool', ['prog', 'loadall', PROGRAMS, `${this.#directory}/programs`, ...maps]);
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

  /** Puts the programs on their interfaces; a predecessor's are replaced without a gap. */
  async attach(attachments: readonly Attachment[], settings: KernelSettings): Promise<void> {
    await this.configure(settings);
    const before = this.#read();
    const now: Attached = { pref: this.pref, filters: [], clsact: before?.clsact ?? [] };
    for (const a of attachments) {
      if (!(await hasClsact(a.interface))) {
        if (!now.clsact.includes(a.interface)) now.clsact.push(a.interface);
        this.#write(now);
        await command('tc', ['qdisc', 'add', 'dev', a.interface, 'clsact']);
      }
      const handle = HANDLES[a.program];
      now.filters.push({ interface: a.interface, direction: a.direction, handle });
      this.#write(now);
      const place = [a.interface, a.direction, 'pref', String(this.pref), 'handle', handle];
      const program = `${this.#directory}/programs/${a.program}_${a.ethernet ? 'l2' : 'l3'}`;
      const what = ['protocol', 'ip', 'bpf', 'da', 'object-pinned', program];
      await command('tc', ['filter', 'replace', 'dev', ...place, ...what]);
    }
    const gone = (before?.filters ?? []).filter(
      (f) =>
        before!.pref !== now.pref ||
        !now.filters.some(
          (n) => n.interface === f.interface && n.direction === f.direction && n.handle === f.handle,
        ),
    );
    for (const f of gone) await removeFilter(f, before!.pref);
  }

  async configure(settings: KernelSettings): Promise<void> {
    const links = JSON.parse(await command('ip', ['-j', 'link', 'show', 'dev', settings.tun])) as {
      ifindex: number;
    }[];
    const value = Uint32Array.of(settings.stack ? 1 : 0, settings.mark, settings.mask, links[0].ifindex);
    bpf.update(this.#fds.get('settings')!, new Uint8Array(4), 4, new Uint8Array(value.buffer), SETTINGS, 1);
    this.#setClients(settings.clients);
  }

  /** Those beyond {@link MAX_CLIENTS} go through the stack. */
  #setClients(prefixes: readonly Prefix[]): void {
    const count = Math.min(prefixes.length, MAX_CLIENTS);
    const keys = new Uint8Array(count * CLIENT_KEY);
    const values = new Uint8Array(count * CLIENT_VALUE);
    const view = new DataView(keys.buffer);
    for (let k = 0; k < count; k++) writeClient(view, k * CLIENT_KEY, prefixes[k]);
    bpf.update(this.#fds.get('clients')!, keys, CLIENT_KEY, values, CLIENT_VALUE, count);
  }

  /** What the programs counted, over all processors. */
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

  /** Takes the programs off their interfaces, a predecessor's too. Harmless when there are none. */
  async detach(): Promise<void> {
    const left = this.#read();
    for (const f of left?.filters ?? []) await removeFilter(f, left!.pref);
    for (const name of left?.clsact ?? [])
      if (!(await hasFilters(name))) await attempt('tc', ['qdisc', 'del', 'dev', name, 'clsact']);
    forgetRecord(this.instance, RECORD);
  }

  /** Takes back what is attached and pinned. Nobody may use the maps any more. */
  async remove(): Promise<void> {
    await this.detach();
    rmSync(this.#directory, { recursive: true, force: true });
    const home = `${BPF_DIRECTORY}/firstack`;
    try {
      if (readdirSync(home).length === 0) rmdirSync(home);
    } catch {
      // Another instance was quicker; or it stands in root's own directory, and was made for us.
    }
    this.#closeAll();
    this.adopting = false;
  }

  #closeAll(): void {
    for (const fd of this.#fds.values()) bpf.close(fd);
    this.#fds.clear();
  }

  #read(): Attached | undefined {
    try {
      return JSON.parse(readFileSync(this.#record, 'utf8')) as Attached;
    } catch {
      return undefined;
    }
  }

  #write(attached: Attached): void {
    mkdirSync(`${RUN_DIRECTORY}/${this.instance}`, { recursive: true, mode: 0o755 });
    writeFileSync(this.#record, JSON.stringify(attached));
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

async function hasClsact(name: string): Promise<boolean> {
  return /\bclsact\b/.test(await command('tc', ['qdisc', 'show', 'dev', name]));
}

async function hasFilters(name: string): Promise<boolean> {
  for (const direction of ['ingress', 'egress']) {
    try {
      if ((await command('tc', ['filter', 'show', 'dev', name, direction])).trim() !== '') return true;
    } catch {
      // The interface, or its clsact, is gone.
    }
  }
  return false;
}

async function removeFilter(f: Attached['filters'][number], pref: number): Promise<void> {
  await attempt('tc', [
    ...['filter', 'del', 'dev', f.interface, f.direction],
    ...['pref', String(pref), 'protocol', 'ip', 'handle', f.handle, 'bpf'],
  ]);
}

/** Takes away what a role that was killed left pinned: its connections end. @returns whether there was anything */
export async function unpin(instance: string): Promise<boolean> {
  const path = new KernelPath(instance, 0);
  if (!path.isLeft) return false;
  await path.remove();
  return true;
}

export function unavailable(why: string): FirstackError {
  return new FirstackError('FSA_FASTPATH_UNAVAILABLE', `fastpath: ${why}`);
}
