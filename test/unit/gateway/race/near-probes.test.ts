// A gateway and a replica in memory: the gateway measures it in the background.
import { describe, expect, it } from 'vitest';
import { BY_SYN, BY_UDP, NearProbes, near, nearBytes } from '../../../../gateway/race/near-probes.js';
import { ManualClock } from '../../../../src/device/clock.js';
import { HoldQueue } from '../../../../src/device/hold-queue.js';
import { EXTRA_SLOT } from '../../../../src/pipeline/batch.js';
import { parse } from '../../../../src/wire/address.js';
import { toReply } from '../../../../src/wire/path-probe.js';
import { CLIENT, GATEWAY_ID, MASTER, R1, R2 } from '../../../support/builder.js';
import { Gateway6, LEARNED, R1 as R1_V6, R2_PORT, R2 as R2_V6 } from '../../../support/gateway6.js';
import { Harness } from '../../../support/harness.js';
import { frame, gatewayKey, type Packet, parseFrame, type Raw, type Tcp } from '../../../support/naive.js';
import { candidateNumber, machineNumber, serviceNumber } from '../../../support/numbers.js';
import { gatewaySnapshot, keyWords, WORLD, type World } from '../../../support/world.js';

const TICK_US = 100_000;
const ORDER = { perSecond: 100, udp: true, syn: true, pauseTicks: 20 };
const isProbe = (f: Uint8Array): boolean => Buffer.from(f).includes('FSPM');
const tcpOf = (f: Uint8Array): Tcp | undefined => {
  const body = parseFrame(f)?.packet.body;
  return body?.kind === 'tcp' ? body : undefined;
};
const destinationOf = (f: Uint8Array): string => parseFrame(f)!.packet.dst;

class Bed {
  readonly gateway: Harness;
  /** What the gateway sent, by tick. */
  readonly sent: Uint8Array[][] = [];

  constructor(
    world: Partial<World> = {},
    /** What the machine answers to, and after how many µs. */
    public answers: { udp?: number; syn?: number } = {},
  ) {
    this.gateway = new Harness('gateway', {
      configuration: 'A',
      race: 2,
      holdSlots: 256,
      near: ORDER,
      ...world,
    });
  }

  steps(n: number): this {
    for (let k = 0; k < n; k++) {
      this.gateway.tick();
      const out = this.gateway.advance(0);
      this.sent.push(out);
      let left = TICK_US;
      const due = out
        .filter((f) => destinationOf(f) === R1.address)
        .flatMap((f) => this.#answer(f))
        .sort((a, b) => a.afterUs - b.afterUs);
      for (const { afterUs, f } of due) {
        this.gateway.advance(afterUs - (TICK_US - left));
        left = TICK_US - afterUs;
        this.sent.push(this.gateway.send([f]));
      }
      this.gateway.advance(left);
    }
    return this;
  }

  #answer(f: Uint8Array): { afterUs: number; f: Uint8Array }[] {
    const { udp, syn } = this.answers;
    const tcp = tcpOf(f);
    if (isProbe(f) && udp !== undefined) return [{ afterUs: udp, f: answerTo(f) }];
    if (tcp?.flags !== 'S' || syn === undefined) return [];
    return [{ afterUs: syn, f: frame(acknowledgement(parseFrame(f)!.packet, tcp)) }];
  }

  /** Of the first replica. */
  get word(): { rttUs: number; silent: number; method: number } {
    const w = this.gateway.memory.near;
    return {
      rttUs: w[near.stride + near.rttUs],
      silent: w[near.stride + near.silent],
      method: w[near.stride + near.method],
    };
  }
  get packets(): Uint8Array[] {
    return this.sent.flat();
  }
}

/** What the role on a machine answers. */
function answerTo(f: Uint8Array): Uint8Array {
  const { packet } = parseFrame(f)!;
  const body = packet.body as Raw;
  const bytes = Uint8Array.from(body.bytes);
  const view = new DataView(bytes.buffer);
  const [sport, dport] = [view.getUint16(0), view.getUint16(2)];
  view.setUint16(0, dport);
  view.setUint16(2, sport);
  view.setUint16(6, 0);
  toReply(view, 8, Int32Array.from(keyWords(gatewayKey(MASTER, GATEWAY_ID))));
  return frame({ ...packet, src: packet.dst, dst: packet.src, body: { ...body, bytes: [...bytes] } });
}

function acknowledgement(p: Packet, tcp: Tcp): Packet {
  const body = { ...tcp, sport: tcp.dport, dport: tcp.sport, seq: 77, ack: tcp.seq + 1, flags: 'SA' };
  return { ...p, src: p.dst, dst: p.src, body } as Packet;
}

describe('probes of all replicas', () => {
  it('measure a machine whose role answers, before a connection needs it', () => {
    const bed = new Bed({}, { udp: 12_000 }).steps(3);
    expect(bed.word).toEqual({ rttUs: 12_000, silent: 0, method: BY_UDP });
    expect(bed.packets.filter((f) => tcpOf(f) !== undefined)).toEqual([]);
  });

  it('go by the least of the last answers: one that is late tells nothing, a longer path shows after three', () => {
    const bed = new Bed({}, { udp: 12_000 }).steps(2);
    bed.answers = { udp: 60_000 };
    bed.steps(25);
    expect(bed.word.rttUs).toBe(12_000);
    bed.steps(20);
    expect(bed.word.rttUs).toBe(60_000);
    bed.answers = { udp: 5_000 };
    bed.steps(20);
    expect(bed.word.rttUs).toBe(5_000);
  });

  it('are SYNs where no role answers, in configuration A, each answered by the exact reset', () => {
    const bed = new Bed({}, { syn: 9_000 }).steps(40);
    expect(bed.word).toEqual({ rttUs: 9_000, silent: 0, method: BY_SYN });
    const syns = bed.packets.filter((f) => destinationOf(f) === R1.address && tcpOf(f)?.flags === 'S');
    const resets = bed.packets.filter((f) => tcpOf(f)?.flags === 'R');
    expect(syns.length).toBeGreaterThan(0);
    expect(resets.map((f) => [tcpOf(f)!.seq, tcpOf(f)!.sport])).toEqual(
      syns.map((f) => [tcpOf(f)!.seq + 1, tcpOf(f)!.sport]),
    );
    expect(parseFrame(resets[0])).toMatchObject({ valid: true, packet: { src: CLIENT, dst: R1.address } });
  });

  it('are not sent as SYNs in configurations B and C, nor where that is not allowed', () => {
    for (const world of [
      { configuration: 'B' },
      { configuration: 'C' },
      { near: { ...ORDER, syn: false } },
    ] as const) {
      const bed = new Bed(world).steps(60);
      expect(bed.packets.filter((f) => tcpOf(f) !== undefined)).toEqual([]);
      expect(bed.word.silent).toBeGreaterThan(1);
    }
  });

  it('ask a machine no more often than was ordered, a silent one more rarely', () => {
    const bed = new Bed({ near: { ...ORDER, syn: false } }, { udp: 1000 }).steps(400);
    const to = (address: string): number =>
      bed.packets.filter((f) => isProbe(f) && destinationOf(f) === address).length;
    // One every two seconds, and one more soon after the first.
    expect(to(R1.address)).toBe(21);
    expect(to(R2.address)).toBeLessThan(12);
  });

  it('keep to the rate of all together', () => {
    const bed = new Bed({ near: { ...ORDER, perSecond: 1, pauseTicks: 1, syn: false } }, { udp: 1000 }).steps(
      200,
    );
    // Two at first, and again where the first was not answered; then one a second.
    expect(bed.packets.filter(isProbe).length).toBeLessThanOrEqual(2 + 2 + 20);
  });

  it('believe no answer that was not asked for, that is forged, or that comes from elsewhere', () => {
    const bed = new Bed({}, {}).steps(1);
    const probe = bed.packets.find((f) => isProbe(f) && destinationOf(f) === R1.address)!;
    const answer = answerTo(probe);
    const forged = answer.slice();
    forged[forged.length - 1] ^= 1;
    const { packet } = parseFrame(answer)!;
    bed.gateway.send([forged]);
    bed.gateway.send([frame({ ...packet, src: R2.address })]);
    expect(bed.word.rttUs).toBe(0);
    bed.gateway.advance(3000);
    bed.gateway.send([answer, answer]);
    expect(bed.word).toMatchObject({ rttUs: 103_000, method: BY_UDP });
    expect(bed.gateway.counts()).toMatchObject({ 'drop.probe-answer': 1, 'drop.probe-answer-refused': 3 });
  });

  it('let a client be: an acknowledgement with another number passes', () => {
    const bed = new Bed({ near: { ...ORDER, udp: false } }).steps(1);
    const syn = bed.packets.find((f) => tcpOf(f) !== undefined && destinationOf(f) === R1.address)!;
    const { packet } = parseFrame(syn)!;
    const wrong = acknowledgement(packet, { ...tcpOf(syn)!, seq: tcpOf(syn)!.seq + 5 });
    expect(bed.gateway.send([frame(wrong)])).toHaveLength(1);
    expect(bed.word.rttUs).toBe(0);
    const [reset, ...rest] = bed.gateway.send([frame(acknowledgement(packet, tcpOf(syn)!))]);
    expect([tcpOf(reset)?.flags, rest]).toEqual(['R', []]);
    expect(bed.gateway.counts()).toMatchObject({ 'emit.probe-reset': 1 });
  });

  it("are none in an origin's race, and none when they are switched off", () => {
    for (const world of [{ race: 0 }, { near: undefined }] as const)
      expect(
        new Bed({ ...world, ...('race' in world ? { near: undefined } : {}) }).steps(10).packets,
      ).toEqual([]);
  });

  it('over IPv6 are SYNs, answered by the exact reset', () => {
    const source = '2001:db8:0:1:0:0:0:0';
    const g = new Gateway6(LEARNED, { near: ORDER, probeSource6: parse(source)! });
    const syns = g.advance(0);
    expect(syns.map((p) => [p.src, p.dst, p.dport, p.flags, p.isSound]).sort()).toEqual([
      [source, R1_V6, 80, 'S', true],
      [source, R2_V6, R2_PORT, 'S', true],
    ]);
    const { sport, seq } = syns.find((p) => p.dst === R1_V6)!;
    const ack = { src: R1_V6, sport: 80, dst: source, dport: sport, seq: 9, flags: 'SA' };
    expect(g.send({ ...ack, ack: seq + 2 })).toHaveLength(1);
    expect(g.count('emit.probe-reset')).toBe(0);
    const [reset, ...rest] = g.send({ ...ack, ack: (seq + 1) >>> 0 });
    expect(reset).toMatchObject({
      src: source,
      dst: R1_V6,
      sport,
      flags: 'R',
      seq: (seq + 1) >>> 0,
      isSound: true,
    });
    expect(rest).toEqual([]);
    expect(g.count('emit.probe-reset')).toBe(1);
  });

  it('measure a machine anew that has moved to another address', () => {
    const bed = new Bed({}, { udp: 12_000 }).steps(3);
    expect(bed.word.rttUs).toBe(12_000);
    bed.gateway.change({ candidates: [2, 1] });
    expect(bed.word.rttUs).toBe(0);
    bed.gateway.tick();
    expect(bed.gateway.advance(0).filter(isProbe)).toHaveLength(2);
  });

  it('of a machine with addresses of both families stay what they are when the same fleet is loaded again', () => {
    const clock = new ManualClock();
    const hold = new HoldQueue([{ slotBytes: EXTRA_SLOT, slots: 8 }]);
    const memory = new Float64Array(nearBytes / 8);
    const probes = new NearProbes(Int32Array.of(1, 2, 3, 4), 1, 0, hold, clock, memory);
    const { services } = gatewaySnapshot(WORLD);
    const endpoint = (service: number, address: string) => ({
      ...{ service: serviceNumber(service), machine: machineNumber(1), candidate: candidateNumber(1) },
      ...{ address: parse(address)!, port: 80, live: true, load: 0, trials: 0 },
    });
    const both = [endpoint(0, R1_V6), endpoint(1, R1.address)];
    const load = (): void =>
      probes.load([services[0], services[0]], both, { v4: 1, v6: parse('2001:db8:0:1::')! }, ORDER);
    load();
    probes.tick(0);
    memory[near.stride + near.rttUs] = 5000;
    load();
    expect(probes.rttUs(machineNumber(1))).toBe(5000);
    // It was asked over IPv4, by a probe and not by a SYN.
    expect(hold.size).toBe(1);
  });
});
