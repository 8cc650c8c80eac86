/**
 * TCP headers (RFC 9293). {@link checkLength} must have passed before any other function is called. Options are in
 * `options.ts`.
 *
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import { update16, update32, updatePartial16, updatePartial32 } from './checksum.js';

const SPORT = 0;
const DPORT = 2;
const SEQ = 4;
const ACK_SEQ = 8;
const DATA_OFFSET = 12;
const FLAGS = 13;
const CHECK = 16;

export const MIN_HEADER = 20;
export const MAX_OPTIONS = 40;

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const ACK = 16;

/** Whether `length` bytes from `at` hold a TCP header with all of its options. */
export function checkLength(view: DataView, at: number, length: number): boolean {
  if (length < MIN_HEADER) return false;
  const header = (view.getUint8(at + DATA_OFFSET) >>> 4) << 2;
  return header >= MIN_HEADER && header <= length;
}

export function sport(view: DataView, at: number): number {
  return view.getUint16(at + SPORT);
}
export function dport(view: DataView, at: number): number {
  return view.getUint16(at + DPORT);
}
/** A signed word, like all sequence numbers in this project. */
export function seq(view: DataView, at: number): number {
  return view.getInt32(at + SEQ);
}
export function ackSeq(view: DataView, at: number): number {
  return view.getInt32(at + ACK_SEQ);
}
/** Header length in bytes, options included. */
export function dataOffset(view: DataView, at: number): number {
  return (view.getUint8(at + DATA_OFFSET) >>> 4) << 2;
}
export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS);
}
export function check(view: DataView, at: number): number {
  return view.getUint16(at + CHECK);
}

/** Whether the flags are those of a SYN without ACK: a start packet [204]. */
export function isSyn(flagBits: number): boolean {
  return (flagBits & (SYN | ACK | RST)) === SYN;
}
export function isSynAck(flagBits: number): boolean {
  return (flagBits & (SYN | ACK | RST)) === (SYN | ACK);
}

/** Updates the checksum for a change of an address in the pseudo header. */
export function updateForAddress(
  view: DataView,
  at: number,
  from: number,
  to: number,
  partial: boolean,
): void {
  const old = view.getUint16(at + CHECK);
  view.setUint16(at + CHECK, partial ? updatePartial32(old, from, to) : update32(old, from, to));
}

/** Sets a port and updates the checksum. A partial sum covers the pseudo header only, so a port does not change it. */
function setPort(view: DataView, at: number, field: number, to: number, partial: boolean): void {
  const from = view.getUint16(at + field);
  if (from === to) return;
  view.setUint16(at + field, to);
  if (!partial) view.setUint16(at + CHECK, update16(view.getUint16(at + CHECK), from, to));
}
export function setSport(view: DataView, at: number, to: number, partial: boolean): void {
  setPort(view, at, SPORT, to, partial);
}
export function setDport(view: DataView, at: number, to: number, partial: boolean): void {
  setPort(view, at, DPORT, to, partial);
}

/**
 * Sets the header length, and updates the checksum for `delta` more bytes of segment.
 * @param added the folded sum of the added bytes as 16-bit words of the segment; its complement for removed bytes
 */
export function resize(
  view: DataView,
  at: number,
  headerBytes: number,
  length: number,
  delta: number,
  added: number,
  partial: boolean,
): void {
  const from = view.getUint16(at + DATA_OFFSET);
  view.setUint8(at + DATA_OFFSET, ((headerBytes >>> 2) << 4) | (view.getUint8(at + DATA_OFFSET) & 15));
  const old = view.getUint16(at + CHECK);
  if (partial) {
    view.setUint16(at + CHECK, updatePartial16(old, length, length + delta));
    return;
  }
  let check = update16(old, length, length + delta);
  check = update16(check, from, view.getUint16(at + DATA_OFFSET));
  view.setUint16(at + CHECK, update16(check, 0, added));
}

/** Updates the checksum for a folded sum of 16-bit words that is added to the segment's. */
export function addToChecksum(view: DataView, at: number, added: number): void {
  view.setUint16(at + CHECK, update16(view.getUint16(at + CHECK), 0, added));
}

/** Writes a 20-byte header with a zero checksum and window. */
export function write(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  sequence: number,
  acknowledgement: number,
  flagBits: number,
): void {
  view.setUint16(at + SPORT, source);
  view.setUint16(at + DPORT, destination);
  view.setInt32(at + SEQ, sequence);
  view.setInt32(at + ACK_SEQ, acknowledgement);
  view.setUint8(at + DATA_OFFSET, (MIN_HEADER >>> 2) << 4);
  view.setUint8(at + FLAGS, flagBits);
  view.setUint16(at + 14, 0);
  view.setUint16(at + CHECK, 0);
  view.setUint16(at + 18, 0);
}

export function setCheck(view: DataView, at: number, to: number): void {
  view.setUint16(at + CHECK, to);
}
