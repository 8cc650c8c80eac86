/**
 * A row of the packet table: bytes in, bytes out, and why. Pure data over the builders of
 * `test/support`, so that every data plane can be held against it. What is told in `counts` is all that
 * may have been counted; names are those of `reasons.ts` of each role.
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

/** A packet, or the bytes of a frame (virtio header first) that no builder would make. */
export type Given = Packet | Uint8Array;

export interface Row {
  name: string;
  role: RoleName;
  configuration: Configuration;
  world?: Partial<World>;
  /** Batches that went before; what came of them is not looked at. */
  given?: Given[][];
  /** How long the clock is turned after each of them; what is due meanwhile comes out, and is not looked at. */
  everyMs?: number;
  /** What the registry's view became then. */
  change?: Partial<World>;
  /** How much later the packets come; the pipeline's tick runs before them. */
  afterMs?: number;
  in: Given[];
  out: Given[];
  counts: Record<string, number>;
  /** What comes when the clock is turned further, and what is counted meanwhile. */
  later?: { afterUs: number; out: Given[]; counts?: Record<string, number> }[];
}

export const CONFIGURATIONS: readonly Configuration[] = ['A', 'B', 'C'];

export interface Replica {
  address: string;
  port: number;
}

/** A replica's SYN-ACK or RST on the WAN, from the `[S→C]` that the client gets to see. */
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

/** Options of a SYN or SYN-ACK as they leave the gateway: under C the tunnel takes its part. */
export const clamped = (c: Configuration): number[] => linuxOptions(c === 'C' ? TUNNEL_MSS : 1460);

/** The `[S→C]` SYN-ACK before and behind the gateway. */
export const synAck = (): Packet => asService('SA', { options: linuxOptions() });
export const synAckToClient = (c: Configuration): Packet => asService('SA', { options: clamped(c) });
export const synToWan = (c: Configuration): Packet => syn({ options: clamped(c) });

/** Frame bytes: a clear virtio header and these. */
export const bytes = (...packet: number[]): Uint8Array =>
  Uint8Array.from([...new Array<number>(10).fill(0), ...packet]);
