/** Measurements of the roles while a soak runs: memory by process, flows in the kernel, elements of nftables sets. */
import { readFileSync } from 'node:fs';
import { median } from '../../probe/distance.js';
import type { Lab } from '../lab.js';
import { monotonicMs } from './soak-events.js';

export interface Memory {
  pid: number;
  /** KiB: all resident memory, and the part of it that is private. */
  rss: number;
  own: number;
}

export interface Sample {
  atMs: number;
  /** By host, for running roles. */
  memory: Record<string, Memory>;
  /** Flows pinned at the gateway, and replicas that it races; null when it did not answer. */
  pinned: number | null;
  up: number | null;
  /** The sum over all sets of the host's ruleset; measured less often. */
  elements?: Record<string, number>;
}

interface GatewayStatus {
  fastpath?: { how: string; flows?: number };
}

/** Samples every `everyMs` until it is stopped. */
export class Sampler {
  readonly samples: Sample[] = [];
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(
    readonly lab: Lab,
    readonly everyMs: number,
    /** Sets are listed with every sample whose number is a multiple of this. */
    readonly setsEvery: number,
  ) {}

  start(): void {
    this.#timer = setInterval(() => {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
    }, this.everyMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { roles } = this.lab;
    const sample: Sample = { atMs: monotonicMs(), memory: {}, pinned: null, up: null };
    for (const host of roles.hosts) {
      const memory = memoryOf(roles.pid(host));
      if (memory !== undefined) sample.memory[host] = memory;
    }
    const status = await roles.status('gateway');
    sample.up = status?.applied.replicasUp.length ?? null;
    sample.pinned = (status as GatewayStatus | undefined)?.fastpath?.flows ?? null;
    if (this.samples.length % this.setsEvery === 0) sample.elements = await this.#elements();
    this.samples.push(sample);
  }

  async #elements(): Promise<Record<string, number>> {
    const all: Record<string, number> = {};
    for (const host of this.lab.roles.hosts) {
      const elements = await elementsOn(this.lab, host);
      if (elements !== undefined) all[host] = elements;
    }
    return all;
  }
}

/** The elements of all sets of a host's ruleset; undefined when they could not be listed. */
export async function elementsOn(lab: Lab, host: string): Promise<number | undefined> {
  const { status, stdout } = await lab.exec(host, ['nft', '-j', 'list', 'sets']);
  if (status !== 0) return undefined;
  const { nftables } = JSON.parse(stdout) as { nftables: { set?: { elem?: unknown[] } }[] };
  return nftables.reduce((sum, { set }) => sum + (set?.elem?.length ?? 0), 0);
}

export function memoryOf(pid: number | undefined): Memory | undefined {
  if (pid === undefined) return undefined;
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]);
    const rss = kib('VmRSS');
    // A zombie has no memory.
    return Number.isNaN(rss) ? undefined : { pid, rss, own: kib('RssAnon') + kib('RssShmem') };
  } catch {
    return undefined;
  }
}

export interface Drift {
  first: number;
  last: number;
  /** The last quarter's median divided by the first quarter's. */
  ratio: number;
}

/** Medians of the first and the last quarter of a series. @returns null with fewer than four values */
export function driftOf(values: readonly number[]): Drift | null {
  const quarter = Math.floor(values.length / 4);
  if (quarter === 0) return null;
  const [first, last] = [median(values.slice(0, quarter)), median(values.slice(-quarter))];
  return { first, last, ratio: last / first };
}

/** A process may grow until it has done everything once; then its memory should stay constant. */
const PLATEAU_AFTER_MS = 15_000;

/**
 * For roles that are restarted again and again: the plateau of each process's life that was long enough, in order of
 * time, as one series over all hosts.
 * @param of which of the two figures
 */
export function plateaus(samples: readonly Sample[], hosts: readonly string[], of: 'rss' | 'own'): number[] {
  const lives = new Map<string, { from: number; values: number[] }>();
  for (const s of samples)
    for (const host of hosts) {
      const m = s.memory[host];
      if (m === undefined) continue;
      const key = `${host}/${m.pid}`;
      const life = lives.get(key) ?? { from: s.atMs, values: [] };
      lives.set(key, life);
      if (s.atMs - life.from >= PLATEAU_AFTER_MS) life.values.push(m[of]);
    }
  return [...lives.values()]
    .filter((l) => l.values.length > 0)
    .sort((a, b) => a.from - b.from)
    .map((l) => median(l.values));
}
