/** The builder of packets for all tests, and the small network in which the packets exist. */
import { encode, gatewayKey, type Packet, type Raw, type TagFields, type Tcp, tagOption } from './naive.js';

export const CLIENT = '10.1.0.7';
export const CLIENT_PORT = 40000;
export const SERVICE = '203.0.113.10';
export const SERVICE_PORT = 80;
export const ORIGIN = '198.51.100.1';
export const STRANGER = '192.0.2.66';
/** Replicas by number; the port of the first differs from the service's. */
export const REPLICAS = [
  { address: '198.51.100.11', port: 8080 },
  { address: '198.51.100.12', port: 80 },
] as const;
export const R1 = REPLICAS[0];
export const R2 = REPLICAS[1];

export const MASTER = '00112233445566778899aabbccddeeff';
export const GATEWAY_ID = 7;
export const KEY_ID = 3;
export const PREFIX = '10.1.0.0/16';
/** The wall clock of the tests, and its epoch. */
export const NOW_SECONDS = 1_700_000_000;
export const EPOCH = Math.floor(NOW_SECONDS / 64) % 16;

export const ISN = 0xfffffffe;
/** ISN + 1, modulo 2^32. */
export const ISN1 = 0xffffffff;
export const SERVER_ISN = 0x70000000;

export const option = {
  mss: (n: number): number[] => [2, 4, n >>> 8, n & 255],
  sackPermitted: [4, 2],
  timestamps: [8, 10, 1, 2, 3, 4, 0, 0, 0, 0],
  nop: [1],
  windowScale: [3, 3, 7],
  eol: [0],
  md5: [19, 18, ...new Array<number>(16).fill(0x5a)],
  ao: [29, 16, ...new Array<number>(14).fill(0xa5)],
  mpCapable: [30, 4, 1, 1],
  /** TCP Fast Open as an experiment of RFC 6994: another kind, another ExID. */
  fastOpen: [254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8],
};
/** The options that Linux sends: 20 bytes. */
export const linuxOptions = (mss = 1460): number[] => [
  ...option.mss(mss),
  ...option.sackPermitted,
  ...option.timestamps,
  ...option.nop,
  ...option.windowScale,
];

export function ip(src: string, dst: string, body: Packet['body'], more: Partial<Packet> = {}): Packet {
  return {
    kind: 'ip',
    src,
    dst,
    ttl: 61,
    id: 0,
    df: true,
    mf: false,
    fragmentOffset: 0,
    tos: 0,
    ipOptions: [],
    body,
    ...more,
  };
}

export function tcp(sport: number, dport: number, flags: string, more: Partial<Tcp> = {}): Tcp {
  return {
    kind: 'tcp',
    sport,
    dport,
    seq: 0,
    ack: 0,
    flags,
    window: 64240,
    options: [],
    payload: [],
    spoil: 0,
    ...more,
  };
}

export const raw = (protocol: number, bytes: number[]): Raw => ({ kind: 'raw', protocol, bytes });

export const text = (s: string): number[] => [...Buffer.from(s)];

/**
 * `[src→dst][inner]`, as firstack writes outer headers: DF, DSCP and ECN copied, TTL 64. A checksum inside is
 * complete, unless the packet is a super-packet.
 */
export function tunnel(src: string, dst: string, inner: Packet, more: Partial<Packet> = {}): Packet {
  const open = inner.open?.gsoSize === 0 ? undefined : inner.open;
  return ip(src, dst, { ...inner, open }, { ttl: 64, df: inner.df, tos: inner.tos, ...more });
}

/** The packet with other fields in its TCP part, inside a tunnel or not. */
export function withTcp(p: Packet, more: Partial<Tcp>): Packet {
  if (p.body.kind === 'ip') return { ...p, body: withTcp(p.body, more) };
  return { ...p, body: { ...(p.body as Tcp), ...more } };
}

export function tcpOf(p: Packet): Tcp {
  return p.body.kind === 'ip' ? tcpOf(p.body) : (p.body as Tcp);
}

/** The client's SYN to the service. */
export function syn(more: Partial<Tcp> = {}, packet: Partial<Packet> = {}): Packet {
  const t = tcp(CLIENT_PORT, SERVICE_PORT, 'S', { seq: ISN, options: linuxOptions(), ...more });
  return ip(CLIENT, SERVICE, t, packet);
}

/** The same SYN with a tag behind its last option. */
export function tagged(
  p: Packet,
  more: Partial<TagFields> = {},
  master: string = MASTER,
  spoil: (tag: number[]) => number[] = (x) => x,
): Packet {
  const fields: TagFields = {
    version: 1,
    flags: 1,
    keyId: KEY_ID,
    epoch: EPOCH,
    gatewayId: GATEWAY_ID,
    ...more,
  };
  const tag = spoil(tagOption(p, gatewayKey(master, fields.gatewayId), fields));
  const t = tcpOf(p);
  return withTcp(p, { options: [...t.options, ...tag] });
}

/** Client → service, after the SYN. */
export function fromClient(flags: string, more: Partial<Tcp> = {}, packet: Partial<Packet> = {}): Packet {
  const t = tcp(CLIENT_PORT, SERVICE_PORT, flags, { seq: ISN1, ack: SERVER_ISN + 1, ...more });
  return ip(CLIENT, SERVICE, t, packet);
}

/** Server → client, with the service's source: `[S→C]`. */
export function asService(flags: string, more: Partial<Tcp> = {}, packet: Partial<Packet> = {}): Packet {
  const t = tcp(SERVICE_PORT, CLIENT_PORT, flags, { seq: SERVER_ISN, ack: ISN1, ...more });
  return ip(SERVICE, CLIENT, t, packet);
}

/** The same packet with a replica's own source: `[R→C]`. */
export function asReplica(r: { address: string; port: number }, p: Packet): Packet {
  return withTcp({ ...p, src: r.address }, { sport: r.port });
}

/** A client's packet that is addressed to a replica: `[C→R]`. */
export function toReplica(r: { address: string; port: number }, p: Packet): Packet {
  return withTcp({ ...p, dst: r.address }, { dport: r.port });
}

/** The reset of a loser: 40 bytes, seq = the acknowledgement's ack, no ACK flag, no window. */
export function reset(src: string, sport: number, dst: string, dport: number, seq: number): Packet {
  return ip(src, dst, tcp(sport, dport, 'R', { seq, window: 0 }), { ttl: 64 });
}

/** The fragments of a packet, each with at most `bytes` of its payload. */
export function fragmentsOf(p: Packet, bytes: number): Packet[] {
  const payload = encode(p).slice(20 + p.ipOptions.length);
  const protocol = p.body.kind === 'raw' ? p.body.protocol : p.body.kind === 'tcp' ? 6 : 4;
  return Array.from({ length: Math.ceil(payload.length / bytes) }, (_, n) => ({
    ...p,
    df: false,
    mf: (n + 1) * bytes < payload.length,
    fragmentOffset: (n * bytes) / 8,
    body: raw(protocol, payload.slice(n * bytes, (n + 1) * bytes)),
  }));
}

/** The next hop's MTU in {@link icmpAbout}. */
export const ICMP_MTU = 1400;

/**
 * An ICMP message that quotes a packet.
 * @param how the most bytes of it that are quoted, and the next hop's MTU
 */
export function icmpAbout(
  src: string,
  dst: string,
  [type, code]: readonly [number, number],
  about: Packet,
  how: { bytes: number; mtu?: number },
): Packet {
  const mtu = how.mtu ?? ICMP_MTU;
  const bytes = [type, code, 0, 0, 0, 0, mtu >>> 8, mtu & 255, ...encode(about).slice(0, how.bytes)];
  return ip(src, dst, raw(1, summed(bytes)));
}

/** The same message with another checksum. */
export function withIcmpChecksum(p: Packet, sum: number): Packet {
  const { bytes } = p.body as Raw;
  return { ...p, body: raw(1, [...bytes.slice(0, 2), sum >>> 8, sum & 255, ...bytes.slice(4)]) };
}

/** Fills in an ICMP message's checksum. */
function summed(bytes: number[]): number[] {
  let s = 0;
  for (let i = 0; i < bytes.length; i += 2) s += bytes[i] * 256 + (bytes[i + 1] ?? 0);
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return [...bytes.slice(0, 2), (0xffff - s) >>> 8, (0xffff - s) & 255, ...bytes.slice(4)];
}

/** An ICMP error that quotes a packet's header and eight more bytes. */
export function icmpError(src: string, dst: string, type: number, code: number, quoted: number[]): Packet {
  const bytes = [type, code, 0, 0, 0, 0, 5, 120, ...quoted.slice(0, 28)];
  return ip(src, dst, raw(1, summed(bytes)));
}
