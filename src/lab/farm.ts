/**
 * A farm: hundreds of replicas on one host of the laboratory. Each machine of the farm is an address of that host; one
 * nginx listens on all of them, and the WAN emulator has the delays of each address. `README.md` says what is real.
 */
import type { ReplicaState } from '../race/records.js';

/** The host's name: its namespace is `fs-NAME-farm`. */
export const FARM = 'farm';
export const FARM_PREFIX = '198.19.0.0/16';
export const MOST_MACHINES = 40_000;

export interface FarmSpec {
  /** How many: m1 … mN. */
  machines: number;
  /** Whether a process on the host answers probes for every machine; without it a machine has only a web server. */
  answersProbes: boolean;
}

/** One record that the farm publishes. Identities may come and go, and may share a machine one after another. */
export interface Published {
  /** The replica's id: by default the machine's name. */
  id: string;
  address: string;
  state?: ReplicaState;
  load?: number;
  /** By default the first service of the topology. */
  service?: { name: string; port: number };
}

/** How often the records change by themselves: shares of all of them, each second. */
export interface FarmChanges {
  /** From up to busy, and back after a while. */
  state: number;
  /** The load, by more than a step. */
  load: number;
  /** Ids whose state does not change. */
  steady: string[];
}

/** What the farm's process does; written by `FarmFleet`, and read again at SIGHUP. */
export interface FarmPlan {
  /** Counts the changes, so that a writer can wait until its change is applied. */
  generation: number;
  redisSocket: string;
  masterKeyFile: string;
  /** The service that a machine carries that is published without one, and the port of its web server. */
  service: { name: string; port: number };
  answersProbes: boolean;
  changes?: FarmChanges;
  published: Published[];
}

export const machineNames = (count: number): string[] => Array.from({ length: count }, (_, n) => `m${n + 1}`);

/** The machine's address: m1 has 198.19.0.1, m256 has 198.19.1.0. @param name `m1` … */
export function machineAddress(name: string): string {
  const n = Number(name.slice(1));
  return `198.19.${n >> 8}.${n & 255}`;
}

export const isMachine = (name: string): boolean => /^m[1-9]\d{0,4}$/.test(name);

export const publishedAs = (machine: string): Published => ({
  id: machine,
  address: machineAddress(machine),
});
