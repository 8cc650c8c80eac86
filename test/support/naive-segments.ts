/** A naive reference for segmenting and coalescing: packets as objects, every segment built anew. */
import { encode, type Packet, type Tcp } from './naive.js';

const DISTANCE = 0x100000000;

/** The segments of a super-packet, inside a tunnel or not, as a kernel would write them. */
export function segmentsOf(p: Packet): Packet[] {
  if (p.body.kind === 'ip')
    return segmentsOf(p.body).map((body, k) => ({ ...p, id: p.df ? p.id : (p.id + k) & 0xffff, body }));
  const t = p.body as Tcp;
  const size = p.open?.gsoSize ?? 0;
  if (size === 0) return [p];
  const count = Math.max(1, Math.ceil(t.payload.length / size));
  return Array.from({ length: count }, (_, k) => {
    const dropped = `${k === 0 ? '' : 'C'}${k === count - 1 ? '' : 'FP'}`;
    const body: Tcp = {
      ...t,
      seq: (t.seq + k * size) % DISTANCE,
      flags: [...t.flags].filter((letter) => !dropped.includes(letter)).join(''),
      payload: t.payload.slice(k * size, (k + 1) * size),
      // The same error, for a checksum field that is complemented instead of uncomplemented.
      spoil: t.spoil === 0 ? 0 : 0xffff - t.spoil,
    };
    return { ...p, id: (p.id + k) & 0xffff, open: undefined, body };
  });
}

/** Packets by flow and direction, each in its order. An id without meaning (with DF, RFC 6864) is left out. */
export function byFlow(packets: readonly Packet[]): Map<string, number[][]> {
  const flows = new Map<string, number[][]>();
  for (const p of packets) {
    const t = (p.body.kind === 'ip' ? p.body.body : p.body) as Tcp;
    const key = `${p.src}:${t.sport}>${p.dst}:${t.dport}`;
    flows.set(key, [...(flows.get(key) ?? []), encode(p.df ? { ...p, id: 0 } : p)]);
  }
  return flows;
}
