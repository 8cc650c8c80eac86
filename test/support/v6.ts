/** TCP over IPv6 as frames (virtio header and packet), made and read without the code under test. */
import { parse } from '../../src/wire/address.js';

const VIRTIO = 10;

export interface Tcp6 {
  src: string;
  dst: string;
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  /** A string of S, A, R, F, P, E, C. */
  flags: string;
  payload: number[];
  /** TCP options, a multiple of four bytes. */
  options?: number[];
  /** Extension headers, [kind, bytes of 8, the first of which is filled in]. */
  headers: [number, number[]][];
}

const BITS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, A: 16, E: 64, C: 128 };

const bytesOf = (text: string): number[] =>
  parse(text)!.flatMap((w) => [(w >>> 24) & 255, (w >>> 16) & 255, (w >>> 8) & 255, w & 255]);

/** The ones' complement sum of bytes as 16-bit words. */
function sum(bytes: readonly number[]): number {
  let s = 0;
  for (let k = 0; k < bytes.length; k += 2) s += (bytes[k] << 8) | (bytes[k + 1] ?? 0);
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return s;
}
const word = (n: number): number[] => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const half = (n: number): number[] => [(n >>> 8) & 255, n & 255];

export function frame6(p: Partial<Tcp6> & Pick<Tcp6, 'src' | 'dst'>): Uint8Array {
  const { src, dst, sport = 40_000, dport = 80, seq = 1000, ack = 0, flags = 'S' } = p;
  const { payload = [], headers = [], options = [] } = p;
  const bits = [...flags].reduce((all, f) => all | BITS[f], 0);
  const segment = [...half(sport), ...half(dport), ...word(seq), ...word(ack)];
  segment.push((5 + options.length / 4) << 4, bits, ...half(64_240), 0, 0, 0, 0, ...options, ...payload);
  const pseudo = [...bytesOf(src), ...bytesOf(dst), ...word(segment.length), 0, 0, 0, 6];
  const check = ~sum([...pseudo, ...segment]) & 0xffff;
  [segment[16], segment[17]] = half(check);
  const kinds = [...headers.map(([kind]) => kind), 6];
  const extensions = headers.flatMap(([, bytes], n) => [kinds[n + 1], ...bytes.slice(1)]);
  const head = [0x60, 0, 0, 0, ...half(extensions.length + segment.length), kinds[0], 61];
  const packet = [...head, ...bytesOf(src), ...bytesOf(dst), ...extensions, ...segment];
  return Uint8Array.from([...Array(VIRTIO).fill(0), ...packet]);
}

/** A datagram of UDP. */
export function udp6(src: string, dst: string, sport: number, dport: number, payload: number[]): Uint8Array {
  const datagram = [...half(sport), ...half(dport), ...half(8 + payload.length), 0, 0, ...payload];
  const pseudo = [...bytesOf(src), ...bytesOf(dst), ...word(datagram.length), 0, 0, 0, 17];
  [datagram[6], datagram[7]] = half(~sum([...pseudo, ...datagram]) & 0xffff);
  const head = [0x60, 0, 0, 0, ...half(datagram.length), 17, 61];
  return Uint8Array.from([...Array(VIRTIO).fill(0), ...head, ...bytesOf(src), ...bytesOf(dst), ...datagram]);
}

/** A frame with another hop limit, and with another flow label. */
export function withHops(frame: Uint8Array, hops: number): Uint8Array {
  const out = frame.slice();
  out[VIRTIO + 7] = hops;
  return out;
}
export function withLabel(frame: Uint8Array, label: number): Uint8Array {
  const out = frame.slice();
  out.set(word((out[VIRTIO] << 24) | (out[VIRTIO + 1] << 16) | label), VIRTIO);
  return out;
}

/** A frame's packet in a tunnel (RFC 2473). @param first the first word of the outer header */
export function tunnel6(frame: Uint8Array, src: string, dst: string, first = 0x60000000): Uint8Array {
  const inner = [...frame.slice(VIRTIO)];
  const head = [...word(first), ...half(inner.length), 41, 64, ...bytesOf(src), ...bytesOf(dst)];
  return Uint8Array.from([...Array(VIRTIO).fill(0), ...head, ...inner]);
}

/** The outer addresses of a tunnelled frame, its first word, and what is inside. */
export function untunnel6(frame: Uint8Array): {
  src: string;
  dst: string;
  first: number;
  inside: Uint8Array;
} {
  const packet = [...frame.slice(VIRTIO)];
  const length = (packet[4] << 8) | packet[5];
  if (packet[6] !== 41 || length !== packet.length - 40) throw new Error('no tunnel');
  return {
    ...{ src: text(packet.slice(8, 24)), dst: text(packet.slice(24, 40)) },
    first: packet[0] * 2 ** 24 + (packet[1] << 16) + (packet[2] << 8) + packet[3],
    inside: Uint8Array.from([...Array(VIRTIO).fill(0), ...packet.slice(40)]),
  };
}

/** An ICMPv6 error that quotes a frame's packet. */
export function error6(p: {
  src: string;
  dst: string;
  type: number;
  mtu?: number;
  quotes: Uint8Array;
}): Uint8Array {
  const message = [p.type, 0, 0, 0, ...word(p.mtu ?? 0), ...p.quotes.slice(VIRTIO)];
  const pseudo = [...bytesOf(p.src), ...bytesOf(p.dst), ...word(message.length), 0, 0, 0, 58];
  [message[2], message[3]] = half(~sum([...pseudo, ...message]) & 0xffff);
  const head = [0x60, 0, 0, 0, ...half(message.length), 58, 61];
  return Uint8Array.from([
    ...Array(VIRTIO).fill(0),
    ...head,
    ...bytesOf(p.src),
    ...bytesOf(p.dst),
    ...message,
  ]);
}

/** Reads what {@link error6} writes. */
export function readError6(frame: Uint8Array) {
  const packet = [...frame.slice(VIRTIO)];
  const message = packet.slice(40);
  const pseudo = [...packet.slice(8, 40), ...word(message.length), 0, 0, 0, 58];
  return {
    ...{ src: text(packet.slice(8, 24)), dst: text(packet.slice(24, 40)), type: message[0] },
    mtu: (message[6] << 8) | message[7],
    isSound: sum([...pseudo, ...message]) === 0xffff,
    quotes: read6(Uint8Array.from([...Array(VIRTIO).fill(0), ...message.slice(8)])),
  };
}

/** Whether a frame is a whole packet whose transport checksum, behind any extension headers, is right. */
export function isSound6(frame: Uint8Array): boolean {
  const packet = [...frame.slice(VIRTIO)];
  if (packet.length < 40 || packet[0] >>> 4 !== 6 || frame[0] !== 0 || frame[1] !== 0) return false;
  if (((packet[4] << 8) | packet[5]) + 40 !== packet.length) return false;
  let [next, at] = [packet[6], 40];
  if (next === 41) return isSound6(Uint8Array.from([...Array(VIRTIO).fill(0), ...packet.slice(40)]));
  while (next === 60) {
    if (at + 8 > packet.length) return false;
    [next, at] = [packet[at], at + 8 * (packet[at + 1] + 1)];
  }
  if (next !== 6 && next !== 17 && next !== 58) return false;
  const rest = packet.slice(at);
  const pseudo = [...packet.slice(8, 40), ...word(rest.length), 0, 0, 0, next];
  return rest.length >= (next === 6 ? 20 : 8) && sum([...pseudo, ...rest]) === 0xffff;
}

const text = (bytes: readonly number[]): string => {
  const groups = Array.from({ length: 8 }, (_, g) => ((bytes[2 * g] << 8) | bytes[2 * g + 1]).toString(16));
  return groups.join(':');
};

/** Reads a frame that has no extension headers but these many bytes. */
export function read6(frame: Uint8Array, extensions = 0): Tcp6 & { isSound: boolean } {
  const packet = [...frame.slice(VIRTIO)];
  const l4 = 40 + extensions;
  const segment = packet.slice(l4);
  const at = (k: number): number => (segment[k] << 8) | segment[k + 1];
  const long = (k: number): number => at(k) * 0x10000 + at(k + 2);
  const pseudo = [...packet.slice(8, 40), ...word(segment.length), 0, 0, 0, 6];
  const length = (packet[4] << 8) | packet[5];
  return {
    src: text(packet.slice(8, 24)),
    dst: text(packet.slice(24, 40)),
    ...{ sport: at(0), dport: at(2), seq: long(4), ack: long(8) },
    flags: Object.keys(BITS)
      .filter((f) => (segment[13] & BITS[f]) !== 0)
      .join(''),
    payload: segment.slice((segment[12] >>> 4) * 4),
    headers: [],
    isSound: sum([...pseudo, ...segment]) === 0xffff && length === packet.length - 40,
  };
}
