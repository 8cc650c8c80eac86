/**
 * The datagram by which a lower router tells the one above where it sends a flow, so that the upper one sends the rest
 * there directly. UDP, port 7419; a MAC with a key of the two routers' session.
 *
 *   0 "FSS1"   4 sequence number   8 client (16)   24 service (16)   40 client's port, service's port
 *   44 protocol (4, as in the flow's key)   48 target (16)   64 SipHash-2-4 of the 64 bytes before
 *
 * Free functions over a DataView; nothing is allocated.
 */
import type { FlowEntry } from '../flow/numbers.js';
import { type FlowTable, KEY_WORDS } from '../flow/table.js';
import * as siphash from '../wire/siphash.js';

export const SHORTCUT_PORT = 7419;
export const LENGTH = 72;
const MAGIC = 0x46535331;
const SEQUENCE = 4;
const KEY = 8;
const TARGET = 48;
const MAC = 64;

/** Writes the shortcut of an entry, to its target. */
export function write(
  view: DataView,
  at: number,
  sequence: number,
  flows: FlowTable,
  e: FlowEntry,
  key: siphash.SipKey,
): void {
  view.setUint32(at, MAGIC);
  view.setUint32(at + SEQUENCE, sequence);
  for (let w = 0; w < KEY_WORDS; w++) view.setInt32(at + KEY + 4 * w, flows.keyWord(e, w));
  for (let w = 0; w < 4; w++) view.setInt32(at + TARGET + 4 * w, flows.target[4 * e + w]);
  siphash.hash(key, view, at, MAC);
  view.setInt32(at + MAC, siphash.result[0], true);
  view.setInt32(at + MAC + 4, siphash.result[1], true);
}

/** Whether `length` bytes from `at` are a shortcut with this key. */
export function isGenuine(view: DataView, at: number, length: number, key: siphash.SipKey): boolean {
  if (length !== LENGTH || view.getUint32(at) !== MAGIC) return false;
  siphash.hash(key, view, at, MAC);
  const low = view.getInt32(at + MAC, true) ^ siphash.result[0];
  return (low | (view.getInt32(at + MAC + 4, true) ^ siphash.result[1])) === 0;
}

/** 32 bits, which wrap. */
export const sequence = (view: DataView, at: number): number => view.getInt32(at + SEQUENCE);

/** Copies the flow's key into {@link FlowTable.key}, for a lookup. */
export function readKey(view: DataView, at: number, flows: FlowTable): void {
  for (let w = 0; w < KEY_WORDS; w++) flows.key[w] = view.getInt32(at + KEY + 4 * w);
}

export function readTarget(view: DataView, at: number, to: Int32Array): void {
  for (let w = 0; w < 4; w++) to[w] = view.getInt32(at + TARGET + 4 * w);
}
