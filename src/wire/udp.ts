/**
 * UDP headers (RFC 768). {@link checkLength} must have passed before any other function is called. A checksum of 0
 * means that the sender computed none: it stays 0. A computed checksum of 0 is written as 0xffff.
 */
import { update16, update32, updatePartial32 } from './checksum.js';

const SPORT = 0;
const DPORT = 2;
const LENGTH = 4;
const CHECK = 6;

export const HEADER = 8;

/** Whether `length` bytes from `at` contain a UDP header and as many bytes as its length field says. */
export function checkLength(view: DataView, at: number, length: number): boolean {
  if (length < HEADER) return false;
  const promised = view.getUint16(at + LENGTH);
  return promised >= HEADER && promised <= length;
}

export function sport(view: DataView, at: number): number {
  return view.getUint16(at + SPORT);
}
export function dport(view: DataView, at: number): number {
  return view.getUint16(at + DPORT);
}
/** Length of header and payload, in bytes. */
export function length(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH);
}
export function check(view: DataView, at: number): number {
  return view.getUint16(at + CHECK);
}

export function setCheck(view: DataView, at: number, to: number): void {
  view.setUint16(at + CHECK, to);
}

/**
 * Updates the checksum for a change of an address in the pseudo header.
 * @param partial the field holds the pseudo-header sum only
 */
export function updateForAddress(
  view: DataView,
  at: number,
  from: number,
  to: number,
  partial: boolean,
): void {
  const old = view.getUint16(at + CHECK);
  if (partial) view.setUint16(at + CHECK, updatePartial32(old, from, to));
  else if (old !== 0) view.setUint16(at + CHECK, update32(old, from, to) || 0xffff);
}

function setPort(view: DataView, at: number, field: number, to: number, partial: boolean): void {
  const from = view.getUint16(at + field);
  view.setUint16(at + field, to);
  const old = view.getUint16(at + CHECK);
  // A partial sum covers the pseudo header only, so a port does not change it.
  if (!partial && old !== 0) view.setUint16(at + CHECK, update16(old, from, to) || 0xffff);
}
export function setSport(view: DataView, at: number, to: number, partial: boolean): void {
  setPort(view, at, SPORT, to, partial);
}
export function setDport(view: DataView, at: number, to: number, partial: boolean): void {
  setPort(view, at, DPORT, to, partial);
}

/** Writes a header with a zero checksum. @param bytes header and payload */
export function write(view: DataView, at: number, source: number, destination: number, bytes: number): void {
  view.setUint16(at + SPORT, source);
  view.setUint16(at + DPORT, destination);
  view.setUint16(at + LENGTH, bytes);
  view.setUint16(at + CHECK, 0);
}
