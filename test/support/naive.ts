/**
 * A deliberately naive codec, the reference for the fast one: packets as objects, checksums always summed over
 * everything, one object per header. It imports nothing from src/, so that the two share no mistake.
 */
import { createHmac } from 'node:crypto';

export interface Tcp {
  kind: 'tcp';
  sport: number;
  dport: number;
  /** Unsigned. */
  seq: number;
  ack: number;
  /** Letters of F S R P A U E C. */
  flags: string;
  window: number;
  /** A multiple of four bytes. */
  options: number[];
  payload: number[];
  /** Added to the right checksum, modulo 0xffff: an error that incremental updates must preserve. */
  spoil: number;
}

export interface Raw {
  kind: 'raw';
  protocol: number;
  bytes: number[];
}

export interface Packet {
  kind: 'ip';
  src: string;
  dst: string;
  ttl: number;
  id: number;
  df: boolean;
  mf: boolean;
  /** In units of eight bytes. */
  fragmentOffset: number;
  tos: number;
  ipOptions: number[];
  body: Tcp | Raw | Packet;
  /** The form of a super-packet or of a local sender's packet: checksum left open, segments of this size. */
  open?: { gsoSize: number };
}

const LETTERS = 'FSRPAUEC';
const word = (n: number): number[] => [(n >>> 8) & 255, n & 255];
const long = (n: number): number[] => [...word(n >>> 16), ...word(n & 0xffff)];
const quad = (text: string): number[] => text.split('.').map(Number);
const get16 = (b: ArrayLike<number>, i: number): number => b[i] * 256 + b[i + 1];
const get32 = (b: ArrayLike<number>, i: number): number => get16(b, i) * 65536 + get16(b, i + 2);

/** The one's complement sum of all bytes, folded, not complemented. */
export function sum(bytes: ArrayLike<number>): number {
  let s = 0;
  for (let i = 0; i < bytes.length; i += 2) s += bytes[i] * 256 + (i + 1 < bytes.length ? bytes[i + 1] : 0);
  while (s > 0xffff) s = (s % 65536) + Math.floor(s / 65536);
  return s;
}
export const checksum = (bytes: ArrayLike<number>): number => 0xffff - sum(bytes);

const pseudo = (src: number[], dst: number[], protocol: number, length: number): number[] => [
  ...src,
  ...dst,
  0,
  protocol,
  ...word(length),
];

function tcpBytes(t: Tcp, p: Packet): number[] {
  const flags = [...t.flags].reduce((bits, letter) => bits | (1 << LETTERS.indexOf(letter)), 0);
  const offset = 20 + t.options.length;
  const bytes = [
    ...word(t.sport),
    ...word(t.dport),
    ...long(t.seq),
    ...long(t.ack),
    (offset / 4) * 16,
    flags,
    ...word(t.window),
    0,
    0,
    0,
    0,
    ...t.options,
    ...t.payload,
  ];
  const header = pseudo(quad(p.src), quad(p.dst), 6, bytes.length);
  const check = p.open === undefined ? checksum([...header, ...bytes]) : sum(header);
  bytes.splice(16, 2, ...word(t.spoil === 0 ? check : (check + t.spoil) % 0xffff));
  return bytes;
}

/** The packet's bytes, from its first IP byte. */
export function encode(p: Packet): number[] {
  const body =
    p.body.kind === 'tcp' ? tcpBytes(p.body, p) : p.body.kind === 'ip' ? encode(p.body) : p.body.bytes;
  const protocol = p.body.kind === 'tcp' ? 6 : p.body.kind === 'ip' ? 4 : p.body.protocol;
  const header = [
    0x40 + (20 + p.ipOptions.length) / 4,
    p.tos,
    ...word(20 + p.ipOptions.length + body.length),
    ...word(p.id),
    ...word((p.df ? 0x4000 : 0) + (p.mf ? 0x2000 : 0) + p.fragmentOffset),
    p.ttl,
    protocol,
    0,
    0,
    ...quad(p.src),
    ...quad(p.dst),
    ...p.ipOptions,
  ];
  header.splice(10, 2, ...word(checksum(header)));
  return [...header, ...body];
}

/**
 * The frame that a TUN with a virtio header passes: ten bytes, then the packet. The header of a super-packet in a
 * tunnel describes the inner packet, with offsets that count from the outer header.
 */
export function frame(p: Packet): Uint8Array {
  const virtio = new Array<number>(10).fill(0);
  const inner = p.body.kind === 'ip' ? p.body : p;
  const tcp = inner.body;
  if (inner.open !== undefined && tcp.kind === 'tcp') {
    const start = (inner === p ? 0 : 20 + p.ipOptions.length) + 20 + inner.ipOptions.length;
    const { gsoSize } = inner.open;
    const header = start + 20 + tcp.options.length;
    const little = (n: number): number[] => [n & 255, n >>> 8];
    virtio.splice(0, 10, 1, gsoSize > 0 ? 1 : 0, ...little(gsoSize > 0 ? header : 0), ...little(gsoSize));
    virtio.push(...little(start), ...little(16));
  }
  return Uint8Array.from([...virtio, ...encode(p)]);
}

export interface Parsed {
  packet: Packet;
  /** Whether every checksum is right: each IP header's, and TCP's and ICMP's where the packets are whole. */
  valid: boolean;
}

/** Parses a packet without virtio header; undefined when it is not one whole IPv4 packet. */
export function parse(b: ArrayLike<number>, open = false): Parsed | undefined {
  if (b.length < 20 || b[0] >> 4 !== 4) return undefined;
  const bytes = Array.from(b);
  const ihl = (bytes[0] & 15) * 4;
  const total = get16(bytes, 2);
  if (ihl < 20 || total < ihl || total > bytes.length) return undefined;
  const fragment = get16(bytes, 6);
  const rest = bytes.slice(ihl, total);
  let valid = sum(bytes.slice(0, ihl)) === 0xffff;
  let body: Packet['body'] = { kind: 'raw', protocol: bytes[9], bytes: rest };
  if ((fragment & 0x3fff) === 0) {
    if (bytes[9] === 6) {
      const tcp = parseTcp(rest);
      if (tcp === undefined) return undefined;
      const header = pseudo(bytes.slice(12, 16), bytes.slice(16, 20), 6, rest.length);
      valid &&= open
        ? sum(header) % 0xffff === get16(rest, 16) % 0xffff
        : sum([...header, ...rest]) === 0xffff;
      body = tcp;
    } else if (bytes[9] === 4) {
      const inner = parse(rest, open);
      if (inner === undefined) return undefined;
      valid &&= inner.valid;
      body = inner.packet;
    } else if (bytes[9] === 1) valid &&= sum(rest) === 0xffff;
  }
  const packet: Packet = {
    kind: 'ip',
    src: bytes.slice(12, 16).join('.'),
    dst: bytes.slice(16, 20).join('.'),
    ttl: bytes[8],
    id: get16(bytes, 4),
    df: (fragment & 0x4000) !== 0,
    mf: (fragment & 0x2000) !== 0,
    fragmentOffset: fragment & 0x1fff,
    tos: bytes[1],
    ipOptions: bytes.slice(20, ihl),
    body,
  };
  return { packet, valid };
}

/** Parses a frame: virtio header and packet. */
export function parseFrame(f: Uint8Array): Parsed | undefined {
  return parse(f.subarray(10), (f[0] & 1) !== 0);
}

function parseTcp(b: number[]): Tcp | undefined {
  if (b.length < 20) return undefined;
  const offset = (b[12] >> 4) * 4;
  if (offset < 20 || offset > b.length) return undefined;
  return {
    kind: 'tcp',
    sport: get16(b, 0),
    dport: get16(b, 2),
    seq: get32(b, 4),
    ack: get32(b, 8),
    flags: [...LETTERS].filter((_, i) => ((b[13] >> i) & 1) === 1).join(''),
    window: get16(b, 14),
    options: b.slice(20, offset),
    payload: b.slice(offset),
    spoil: 0,
  };
}

export interface Option {
  kind: number;
  bytes: number[];
}

/** The options up to EOL; undefined when they are malformed. */
export function parseOptions(b: readonly number[]): Option[] | undefined {
  if (b.length === 0 || b[0] === 0) return [];
  const length = b[0] === 1 ? 1 : b[1];
  if (length === undefined || length > b.length || (b[0] !== 1 && length < 2)) return undefined;
  const rest = parseOptions(b.slice(length));
  return rest && [{ kind: b[0], bytes: b.slice(0, length) }, ...rest];
}

const MASK64 = (1n << 64n) - 1n;

/** SipHash-2-4 over BigInts, as in the paper. */
export function siphash(key: ArrayLike<number>, message: ArrayLike<number>): bigint {
  const little = (b: ArrayLike<number>, at: number, n: number): bigint => {
    let x = 0n;
    for (let i = n - 1; i >= 0; i--) x = (x << 8n) | BigInt(b[at + i]);
    return x;
  };
  const rotate = (x: bigint, n: bigint): bigint => ((x << n) | (x >> (64n - n))) & MASK64;
  const k0 = little(key, 0, 8);
  const k1 = little(key, 8, 8);
  const v = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  const half = (a: number, b: number, s: bigint): void => {
    v[a] = (v[a] + v[b]) & MASK64;
    v[b] = rotate(v[b], s) ^ v[a];
  };
  const round = (): void => {
    half(0, 1, 13n);
    v[0] = rotate(v[0], 32n);
    half(2, 3, 16n);
    half(0, 3, 21n);
    half(2, 1, 17n);
    v[2] = rotate(v[2], 32n);
  };
  const words: bigint[] = [];
  const whole = message.length - (message.length % 8);
  for (let i = 0; i < whole; i += 8) words.push(little(message, i, 8));
  words.push((BigInt(message.length & 255) << 56n) | little(message, whole, message.length - whole));
  for (const m of words) {
    v[3] ^= m;
    round();
    round();
    v[0] ^= m;
  }
  v[2] ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

export interface TagFields {
  version: number;
  flags: number;
  keyId: number;
  /** The low four bits stand in the tag; the whole number is in the MAC from version 2 on. */
  epoch: number;
  gatewayId: number;
}

/** The key of a gateway, derived from the master key (SPEC.md). */
export function gatewayKey(master: string, gatewayId: number): number[] {
  const mac = createHmac('sha256', Buffer.from(master, 'hex'))
    .update(`firstack gateway ${gatewayId}`)
    .digest();
  return [...mac.subarray(0, 16)];
}

/** The tag of a SYN, as SPEC.md specifies it. */
export function tagOption(syn: Packet, key: ArrayLike<number>, f: TagFields): number[] {
  const t = syn.body as Tcp;
  const head = [
    253,
    16,
    0xfa,
    0x57,
    f.version * 16 + f.flags,
    f.keyId * 16 + (f.epoch % 16),
    ...word(f.gatewayId),
  ];
  const mapped = (text: string): number[] => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...quad(text)];
  const message = [
    ...head,
    ...mapped(syn.src),
    ...mapped(syn.dst),
    ...word(t.sport),
    ...word(t.dport),
    ...long(t.seq),
    ...(f.version >= 2 ? long(f.epoch) : []),
  ];
  const mac = siphash(key, message);
  return [...head, ...long(Number(mac & 0xffffffffn)), ...long(Number(mac >> 32n))];
}
