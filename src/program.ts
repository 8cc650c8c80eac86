/**
 * A role is where a process stands: on the clients' router, before the origin's servers, on a server's host. A program is
 * what it does there. Each role lists its programs in `ROLE/programs.ts`; this is what a program is, for the role that
 * hosts it (`role.ts`).
 *
 * A program has two halves. The data half is a pipeline module (`createPipeline`), which the data plane's thread loads: it
 * sees packets and imports no I/O. The control half is a {@link Run}: it sees the registry, the host and the operator.
 */
import type { Command } from 'commander';
import type { Metric } from './admin/metrics.js';
import type { Locate, Schema } from './config.js';
import type { Problem } from './errors.js';
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
import type { Prefix } from './wire/address.js';

/** A line of `ROLE/programs.ts`. Its modules are loaded when they are needed. */
export interface ProgramEntry {
  /** Key in the role file, label on counters, key in `/v1/status`. */
  readonly name: string;
  readonly program: () => Promise<{ program: Program }>;
  /** The program's part of the command line. */
  readonly commands?: () => Promise<{ addCommands(to: CommandLine): void }>;
}

/** Where a program's commands go. */
export interface CommandLine {
  /** `firstack` */
  root: Command;
  /** `firstack ROLE` */
  role: Command;
  /** A command's exit code. */
  exit(code: number): void;
}

// biome-ignore lint/suspicious/noExplicitAny: each program has a configuration of its own
export interface Program<Config extends ProgramConfig = any> {
  readonly name: string;
  /** Of its marks, tables and interface names (`steer/marks.ts`): 1 to 15, another one for each program; 0 is the race. */
  readonly number: number;
  /** Its part of the role file: the properties of an object. @param allocation the defaults of marks and tables */
  schema(allocation: Allocation): { properties: Record<string, Schema>; required: string[] };
  /** Its part of a service record, under its name. */
  readonly service?: ServicePart;
  /** Registry records of its own. */
  readonly kinds: readonly RecordKind[];
  /** What flags and environment put over its part of the file. */
  overrides?(flags: RoleFlags): Record<string, unknown>;
  /** What is wrong with a file beyond the schema. */
  problems?(config: Config, locate: Locate, flags: RoleFlags): Problem[];
  /** @throws FirstackError FSA_KEY_INVALID, FSA_CONFIG_* where files that the configuration names are not good */
  create(config: Config, site: Site): Run;
}

/** Where a program's inner instance stands. */
export interface Site {
  role: RoleName;
  /** Of the program's own: the role's name for the race, `ROLE-PROGRAM` for every other. */
  instance: string;
  log: Logger;
}

/** What the data plane and the kernel should be doing now. */
export interface Duty {
  steering: Steering;
  snapshot: unknown;
  tunMtu: number;
  /** For `/v1/status`, once it is carried out: names of what it goes by. */
  names?: Record<string, (string | number)[]>;
}

/** One address, port and protocol whose packets a program takes. */
export interface Claim {
  address: string;
  port: number;
  protocol: 'tcp' | 'udp';
}

/** Programs act on disjoint services: else it would depend on their order what becomes of a packet. */
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

/** What a program brings beside its pipeline where the kernel's hooks can carry its flows. */
export interface KernelHalf {
  hooks: HookSet;
  /** Where the hooks stand. */
  attachments(host: Host): Attachment[];
  /** Prefixes of the clients whose connections the hooks may take to the TUN. */
  clients?: readonly Prefix[];
  /** Why this program's flows cannot be carried by them here; '' when they can. */
  whyNot?(host: Host): string;
}

/** The data half. Absent where no packet passes through. */
export interface PlaneHalf {
  /** URL of the pipeline module that the data plane's thread loads. */
  module: URL;
  options: unknown;
  /** Packets that may wait at once. */
  holdSlots: number;
  /** Bytes of shared memory by name. */
  memory: Readonly<Record<string, number>>;
}

/** A question of the admin API: `GET /v1/NAME`. */
export interface Read {
  /** Query parameters, by schema. */
  query?: Record<string, Schema>;
  answer(query: Record<string, unknown>): Record<string, unknown>;
}

export interface RunContext {
  registry: Registry;
  /** Undefined for a program without a data half. */
  plane: DataPlane | undefined;
  /** Asks for a new {@link Duty}, soon. */
  refresh(): void;
}

/** A program that runs. */
export interface Run {
  /** What of the registry it goes by (`registry/keys.ts`), once {@link check} has seen all. */
  readonly topics: readonly string[];
  readonly plane?: PlaneHalf;
  readonly kernel?: KernelHalf;
  /** What stands against running here, with this registry. Changes nothing. */
  check(host: Host, view: View): Problem[];
  /** The addresses and ports whose packets it takes here: no two programs of a host may take the same. */
  claims?(view: View): Claim[];
  /** Pure. Absent where no packet passes through. @param kernel how pinned flows are carried now */
  duty?(host: Host, view: View, kernel: KernelMode): Duty;
  /** After the data plane is up: states its records, starts its probes and health checks. */
  start?(context: RunContext): Promise<void>;
  /** Told to stop, with everything still in place: takes no new work, and waits for what ends within moments. */
  leave?(): Promise<void>;
  stop?(): Promise<void>;
  /**
   * On SIGHUP: takes over what of its configuration, read again, may change while it runs.
   * @throws FirstackError FSA_CONFIG_*; then nothing has changed
   */
  // biome-ignore lint/suspicious/noExplicitAny: each program has a configuration of its own
  reload?(config: any): Promise<void>;
  /** What it is doing, in a few words: for `systemctl status`. */
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
