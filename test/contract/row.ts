/**
 * A row of the packet table: input packets, output packets, and their reason. Rows are pure data made with the
 * builders of `test/support`, so that every data plane can be tested with them. `counts` lists all counters that may
 * have changed; names are those of each role's `reasons.ts`.
 */
import {
  asReplica,
  asService,
  CLIENT,
  CLIENT_PORT,
  ISN1,
  linuxOptions,
  reset,
  SERVICE,
  SERVICE_PORT,
  syn,
  toReplica,
  tunnel,
} from '../support/builder.js';
import type { Packet } from '../support/naive.js';
import { type Configuration, type RoleName, TUNNEL_MSS, type World } from '../support/world.js';

/** A packet, or the bytes of a frame (virtio header first) that the builders cannot make. */
export type Given = Packet | Uint8Array;

export interface Row {
  name: string;
  role: RoleName;
  configuration: Configuration;
  world?: Partial<World>;
  /** Batches before the tested one; the packets that result from them are not checked. */
  given?: Given[][];
  /** How far the clock is advanced after each of them; packets that become due meanwhile are not checked. */
  everyMs?: number;
  /** Whether the pipeline's ticks run before the tested packets; true by default. */
  ticks?: boolean;
  /** A change of the registry's view after them. */
  change?: Partial<World>;
  /** How much later the tested packets come; the pipeline's tick runs before them. */
  afterMs?: number;
  in: Given[];
  out: Given[];
  counts: Record<string, number>;
  /** Packets that leave when the clock is advanced further, and the counters that change meanwhile. */
  later?: { afterUs: number; out: Given[]; counts?: Record<string, number> }[];
}

export const CONFIGURATIONS: readonly Configuration[] = ['A', 'B', 'C'];

export interface Replica {
  address: string;
  port: number;
}

/** A replica's SYN-ACK or RST on the WAN, for the `[S→C]` that the client receives. */
export function answerOnWan(c: Configuration, r: Replica, p: Packet): Packet {
  if (c === 'A') return asReplica(r, p);
  return c === 'B' ? tunnel(SERVICE, CLIENT, asReplica(r, p)) : tunnel(r.address, CLIENT, p);
}

/** A replica's other packets on the WAN. */
export function dataOnWan(c: Configuration, r: Replica, p: Packet): Packet {
  return c === 'B' ? p : answerOnWan(c, r, p);
}

/** A client's packet of a replica's flow on the WAN. */
export function clientOnWan(c: Configuration, r: Replica, p: Packet): Packet {
  return c === 'C' ? tunnel(CLIENT, r.address, p) : toReplica(r, p);
}

/** The reset of a losing replica on the WAN. */
export function resetOnWan(c: Configuration, r: Replica, seq = ISN1): Packet {
  if (c !== 'C') return reset(CLIENT, CLIENT_PORT, r.address, r.port, seq);
  return tunnel(CLIENT, r.address, reset(CLIENT, CLIENT_PORT, SERVICE, SERVICE_PORT, seq));
}
export const resetOfOrigin = (seq = ISN1): Packet => reset(CLIENT, CLIENT_PORT, SERVICE, SERVICE_PORT, seq);

/** Options of a SYN or SYN-ACK that leaves the gateway: in configuration C the MSS leaves room for the tunnel. */
export const clamped = (c: Configuration): number[] => linuxOptions(c === 'C' ? TUNNEL_MSS : 1460);

/** The SYN-ACK `[S→C]` before and after the gateway. */
export const synAck = (): Packet => asService('SA', { options: linuxOptions() });
export const synAckToClient = (c: Configuration): Packet => asService('SA', { options: clamped(c) });
export const synToWan = (c: Configuration): Packet => syn({ options: clamped(c) });

/** A frame: a clear virtio header and these bytes. */
export const bytes = (...packet: number[]): Uint8Array =>
  Uint8Array.from([...new Array<number>(10).fill(0), ...packet]);
