/**
 * What routers of one level tell each other about flows: UDP, port 7418; a MAC with the level's key.
 *
 *   0 "FSN1"   4 epoch: when the sender's process began, s since 1970   8 sequence number
 *   12 kind   13 records   14 reserved   16 records, of 60 bytes each   then SipHash-2-4 of all before
 *
 * A record: 0 the flow's key (40, as in the flow table)   40 target (16)   56 reserved. In a question the target is 0.
 * Free functions over a DataView; nothing is allocated.
 */
import type { FlowEntry } from '../flow/numbers.js';
import { type FlowTable, KEY_WORDS } from '../flow/table.js';
import * as siphash from '../wire/siphash.js';

export const NEWS_PORT = 7418;
/** Flows that the sender has. */
export const NEWS = 1;
/** Who has this flow? */
export const WHOHAS = 2;

/** So many fit into one Ethernet frame. */
export const MOST_RECORDS = 20;
const MAGIC = 0x46534e31;
const EPOCH = 4;
const SEQUENCE = 8;
const KIND = 12;
const RECORDS = 13;
const HEADER = 16;
const RECORD = 60;
const TARGET = 40;
const MAC = 8;

export const lengthOf = (records: number): number => HEADER + records * RECORD + MAC;

export function writeHeader(view: DataView, at: number, epoch: number, sequence: number, kind: number): void {
  view.setUint32(at, MAGIC);
  view.setInt32(at + EPOCH, epoch);
  view.setInt32(at + SEQUENCE, sequence);
  view.setUint8(at + KIND, kind);
  view.setUint8(at + RECORDS, 0);
  view.setUint16(at + HEADER - 2, 0);
}

/** Adds an entry's record. @param hasTarget false in a question */
export function addRecord(
  view: DataView,
  at: number,
  flows: FlowTable,
  e: FlowEntry,
  hasTarget: boolean,
): void {
  const n = view.getUint8(at + RECORDS);
  const r = at + HEADER + n * RECORD;
  for (let w = 0; w < KEY_WORDS; w++) view.setInt32(r + 4 * w, flows.keyWord(e, w));
  for (let w = 0; w < 4; w++) view.setInt32(r + TARGET + 4 * w, hasTarget ? flows.target[4 * e + w] : 0);
  view.setInt32(r + RECORD - 4, 0);
  view.setUint8(at + RECORDS, n + 1);
}

/** Writes the MAC. */
export function seal(view: DataView, at: number, key: siphash.SipKey): void {
  const mac = at + HEADER + records(view, at) * RECORD;
  siphash.hash(key, view, at, mac - at);
  view.setInt32(mac, siphash.result[0], true);
  view.setInt32(mac + 4, siphash.result[1], true);
}

/** Whether `length` bytes from `at` are a whole message with this key. */
export function isGenuine(view: DataView, at: number, length: number, key: siphash.SipKey): boolean {
  if (length < lengthOf(0) || view.getUint32(at) !== MAGIC || length !== lengthOf(records(view, at)))
    return false;
  const mac = at + length - MAC;
  siphash.hash(key, view, at, mac - at);
  const low = view.getInt32(mac, true) ^ siphash.result[0];
  return (low | (view.getInt32(mac + 4, true) ^ siphash.result[1])) === 0;
}

export const epoch = (view: DataView, at: number): number => view.getInt32(at + EPOCH);
export const sequence = (view: DataView, at: number): number => view.getInt32(at + SEQUENCE);
export const kind = (view: DataView, at: number): number => view.getUint8(at + KIND);
export const records = (view: DataView, at: number): number => view.getUint8(at + RECORDS);

/** Copies the key of record `n` into {@link FlowTable.key}, for a lookup. */
export function readKey(view: DataView, at: number, n: number, flows: FlowTable): void {
  const r = at + HEADER + n * RECORD;
  for (let w = 0; w < KEY_WORDS; w++) flows.key[w] = view.getInt32(r + 4 * w);
}

export function readTarget(view: DataView, at: number, n: number, to: Int32Array): void {
  const r = at + HEADER + n * RECORD + TARGET;
  for (let w = 0; w < 4; w++) to[w] = view.getInt32(r + 4 * w);
}
