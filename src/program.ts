/**
 * A role is the place of a process in the network: on the clients' router, before the origin's servers, or on a
 * server's host. A program is the task that it performs there. Each role lists its programs in `ROLE/programs.ts`.
 * This file defines a program for the role that hosts it (`role.ts`).
 *
 * A program has two halves. The data half is a pipeline module (`createPipeline`), which the data plane's thread
 * loads: it sees packets and imports no I/O. The control half is a {@link Run}: it sees the registry, the host and
 * the operator.
 */
import type { Command } from 'commander';
import type { Metric } from './admin/metrics.js';
import type { Locate, Schema } from './config.js';
import type { Problem } from './errors.js';
import type { Events } from './events/events.js';
import type { Attachment, HookSet } from './fastpath/maps.js';
import type { KernelMode } from './fastpath/modes.js';
import type { Logger } from './log.js';
import type { DataPlane } from './pipeline/data-plane.js';
import type { RecordKind, View } from './registry/kinds.js';
import type { Registry } from './registry/registry.js';
import type { ServicePart } from './registry/service.js';
import type { ProgramConfig, RoleFlags } from './role-config.js';
import type { Host } from './steer/host.js';
import type { Allocation, RoleName } from './steer/marks.js';
import type { Steering } from './steer/plan.js';
import type { Leg } from './steer/ruleset.js';
import type { Credential } from './trust/credential.js';
import type { PairKeys } from './trust/pair-keys.js';
import type { Prefix } from './wire/address.js';

/** A line of `ROLE/programs.ts`. A program's modules are loaded only when they are needed. */
export interface ProgramEntry {
  /** The key in the role file, the label on counters, the key in `/v1/status`. */
  readonly name: string;
  readonly program: () => Promise<{ program: Program }>;
  /** The program's part of the command line. */
  readonly commands?: () => Promise<{ addCommands(to: CommandLine): void }>;
}

/** The commands to which a program adds its own. */
export interface CommandLine {
  /** `firstack` */
  root: Command;
  /** `firstack ROLE` */
  role: Command;
  /** Sets the exit code of a command. */
  exit(code: number): void;
}

// biome-ignore lint/suspicious/noExplicitAny: each program has a configuration of its own
export interface Program<Config extends ProgramConfig = any> {
  readonly name: string;
  /**
   * The number from which its marks, tables and interface names follow (`steer/marks.ts`): 1 to 15, different for
   * each program; 0 is the race.
   */
  readonly number: number;
  /**
   * The program's part of the role file: the properties of an object.
   * @param allocation the defaults of marks and tables
   */
  schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] };
  /** The program's part of a service record, which is under its name. */
  readonly service?: ServicePart;
  /** The registry records that the program defines. */
  readonly kinds: readonly RecordKind[];
  /** The values with which flags and environment override its part of the file. */
  overrides?(flags: RoleFlags): Record<string, unknown>;
  /** Problems of a file beyond the schema. */
  problems?(config: Config, locate: Locate, flags: RoleFlags): Problem[];
  /** @throws FirstackError FSA_KEY_INVALID, FSA_CONFIG_* where a file that the configuration names is invalid */
  create(config: Config, site: Site): Run;
}

/** The identity of a program's inner instance. */
export interface Site {
  role: RoleName;
  /** The inner instance's name: the role's name for the race, `ROLE-PROGRAM` for every other program. */
  instance: string;
  log: Logger;
  /** What this machine may state in the registry; undefined where it has no identity. */
  credential?: Credential;
  /** Whether only signed records count here. */
  onlySigned?: boolean;
  /** The keys that this machine shares with each other one; undefined where it has no identity. */
  pairs?: PairKeys;
  /** The fleet's public key, in base64url; undefined where this machine has no identity. */
  fleet?: string;
  /** Says what changes here: in the log, in `/v1/events`, on disk. */
  events: Events;
}

/** The state that the data plane and the kernel should have now. */
export interface Duty {
  steering: Steering;
  snapshot: unknown;
  tunMtu: number;
  /** For `/v1/status`, once the duty is performed: the names of the services and machines that it uses. */
  names?: Record<string, (string | number)[]>;
}

/** One address, port and protocol whose packets a program takes. */
export interface Claim {
  address: string;
  port: number;
  protocol: 'tcp' | 'udp';
}

/**
 * Programs must claim disjoint addresses and ports, because otherwise a packet's treatment would depend on the
 * programs' order.
 */
export function claimedTwice(programs: readonly { name: string; claims: readonly Claim[] }[]): Problem[] {
  const owners = new Map<string, string>();
  const problems: Problem[] = [];
  for (const { name, claims } of programs)
    for (const { address, port, protocol } of claims) {
      const what = `${address}:${port}/${protocol}`;
      const owner = owners.get(what) ?? name;
      owners.set(what, owner);
      if (owner === name) continue;
      problems.push({
        code: 'FSA_CONFIG_VALUE',
        message: `programs.${name}: ${what} belongs to program ${owner} on this host already`,
      });
    }
  return problems;
}

/** What a program adds to its pipeline where hooks can carry its flows. */
export interface KernelHalf {
  hooks: HookSet;
  /** The interfaces to which the hooks are attached. */
  attachments(host: Host): Attachment[];
  /** Prefixes of the clients whose connections the hooks may redirect to the TUN. */
  clients?: readonly Prefix[];
  /** The crossings of the forward hook by packets that hooks translated and left to the stack. */
  translated?: readonly Leg[];
  /** Whether hooks carry packets of IPv6: then `auto` looks at rules of family ip6 too. */
  ipv6?: boolean;
  /** The reason why hooks cannot carry this program's flows here; '' when they can. */
  whyNot?(host: Host): string;
}

/** The data half. Absent for a program through which no packet passes. */
export interface PlaneHalf {
  /** URL of the pipeline module that the data plane's thread loads. */
  module: URL;
  options: unknown;
  /** The most packets that may be held at once. */
  holdSlots: number;
  /** Bytes of shared memory by name. */
  memory: Readonly<Record<string, number>>;
}

/** A query of the admin API: `GET /v1/NAME`. */
export interface Read {
  /** Query parameters, by schema. */
  query?: Record<string, Schema>;
  answer(query: Record<string, unknown>): Record<string, unknown> | Promise<Record<string, unknown>>;
}

export interface RunContext {
  registry: Registry;
  /** Undefined for a program without a data half. */
  plane: DataPlane | undefined;
  /** Requests a new {@link Duty} soon. */
  refresh(isUrgent?: boolean): void;
}

/** A running program. */
export interface Run {
  /** The registry topics that it follows (`registry/keys.ts`), once {@link check} has seen all records. */
  readonly topics: readonly string[];
  readonly plane?: PlaneHalf;
  readonly kernel?: KernelHalf;
  /** Problems that prevent it from running here, with this registry. Changes nothing. */
  check(host: Host, view: View): Problem[];
  /**
   * What other machines' records and this role's file contradict each other in: it is left out here and said, and keeps
   * no role from starting.
   */
  conflicts?(host: Host, view: View): Problem[];
  /** The addresses and ports whose packets it takes here; two programs of a host must not claim the same. */
  claims?(view: View): Claim[];
  /**
   * Pure. Absent for a program through which no packet passes.
   * @param kernel how pinned flows are carried now
   */
  duty?(host: Host, view: View, kernel: KernelMode): Duty;
  /** Called when a duty for this view is performed: the data plane and the kernel act on it now. */
  performed?(view: View): void;
  /** Called after the data plane is up: publishes its records, starts its probes and health checks. */
  start?(context: RunContext): Promise<void>;
  /**
   * Called before a stop, with everything still in place: takes no new work, and waits for work that ends within
   * moments.
   */
  leave?(): Promise<void>;
  stop?(): Promise<void>;
  /**
   * On SIGHUP: takes over those parts of its configuration, read again, that may change while it runs.
   * @throws FirstackError FSA_CONFIG_*; then nothing has changed
   */
  // biome-ignore lint/suspicious/noExplicitAny: each program has a configuration of its own
  reload?(config: any): Promise<void>;
  /** Its state in a few words, for `systemctl status`. */
  summary?(): string;
  /** For `/v1/status`. */
  status(): Record<string, unknown>;
  metrics?(): Metric[];
  /** Counters that tell of something that is full, each with what to say: in the log, once until it has been quiet. */
  readonly fullness?: Readonly<Record<string, string>>;
  readonly reads?: Readonly<Record<string, Read>>;
  /** `POST /v1/NAME`, answered with the status. */
  readonly actions?: Readonly<Record<string, () => void>>;
}
