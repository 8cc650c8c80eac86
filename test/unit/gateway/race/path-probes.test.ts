// A gateway and a replica in memory, and between them a path that drops every packet above a size, each way.
import { describe, expect, it } from 'vitest';
import { PATH_WORDS, pathWords } from '../../../../gateway/race/path-probes.js';
import { PLAIN, TUNNELLED } from '../../../../src/wire/path-probe.js';
import { answerOnWan, synAck } from '../../../contract/row.js';
import { asService, CLIENT, fromClient, icmpAbout, R1, syn, text, tunnel } from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame, type Packet, parseFrame, type Raw, type Tcp } from '../../../support/naive.js';

const R1_WORD = Buffer.from(R1.address.split('.').map(Number)).readInt32BE(0);
const TICK_US = 100_000;

interface Path {
  out: number;
  back: number;
  /** Drops the nth packet, counted from 0. */
  loses?: (n: number) => boolean;
}

const lengthOf = (f: Uint8Array): number => f.length - 10;
const isProbe = (f: Uint8Array): boolean => Buffer.from(f).includes('FSPM');

class Bed {
  readonly gateway: Harness;
  readonly replica: Harness;
  sent = 0;
  /** Probes of each round trip. */
  readonly lengths: number[] = [];

  constructor(public path: Path) {
    const configuration = 'C';
    this.gateway = new Harness('gateway', {
      ...{ configuration, race: 1, holdSlots: 256 },
      probed: [{ address: R1_WORD, form: TUNNELLED }],
    });
    this.replica = new Harness('replica', { configuration });
  }

  /** A tenth of a second: probes go there, answers come back. */
  step(): void {
    this.gateway.tick();
    const probes = this.gateway.advance(0).filter(isProbe);
    this.lengths.push(...probes.map(lengthOf));
    const there = probes.filter(
      (f) => lengthOf(f) <= this.path.out && this.path.loses?.(this.sent++) !== true,
    );
    const answers = there.flatMap((f) => this.replica.send([f]));
    this.gateway.advance(TICK_US);
    const back = answers.filter((f) => lengthOf(f) <= this.path.back);
    for (const f of back) expect(this.gateway.send([f])).toEqual([]);
  }

  steps(n: number): this {
    for (let k = 0; k < n; k++) this.step();
    return this;
  }

  word(name: keyof typeof pathWords): number {
    return this.gateway.memory.paths[pathWords[name]];
  }
  get mtus(): [number, number] {
    return [this.word('mtuOut'), this.word('mtuIn')];
  }
}

describe('path probes', () => {
  it.each([
    [1500, 1500],
    [1492, 1500],
    [1400, 1400],
    [1400, 1500],
    [1500, 1280],
    [1390, 1391],
    [600, 600],
  ])('find what passes of %i bytes out and %i back', (out, back) => {
    const steps = [
      1500, 1492, 1480, 1472, 1460, 1448, 1440, 1430, 1420, 1410, 1400, 1380, 1360, 1340, 1320, 1300,
    ];
    const found = (mtu: number): number => [...steps, 1280, 1200, 1024, 576].find((s) => s <= mtu)!;
    const bed = new Bed({ out, back }).steps(5);
    // An answer comes only to a request that arrived, so the way back is not known beyond the way out.
    expect(bed.mtus).toEqual([found(out), found(Math.min(out, back))]);
  });

  it('are few once the path is known', () => {
    const bed = new Bed({ out: 1400, back: 1400 }).steps(20);
    const before = bed.lengths.length;
    bed.steps(100);
    const perSecond = (bed.lengths.length - before) / 10;
    expect(perSecond).toBeGreaterThan(0.5);
    expect(perSecond).toBeLessThan(3);
  });

  it('notice within seconds that a path has become narrow, and after ten minutes that it is wide again', () => {
    const bed = new Bed({ out: 1500, back: 1500 }).steps(20);
    expect(bed.mtus).toEqual([1500, 1500]);
    bed.path = { out: 1400, back: 1400 };
    bed.steps(50);
    expect(bed.mtus).toEqual([1400, 1400]);
    bed.path = { out: 1500, back: 1500 };
    bed.steps(1000);
    expect(bed.mtus).toEqual([1400, 1400]);
    bed.steps(5200);
    expect(bed.mtus).toEqual([1500, 1500]);
  });

  it('do not take a lost packet for a narrow path', () => {
    const bed = new Bed({ out: 1500, back: 1500, loses: (n) => n % 9 === 4 }).steps(600);
    expect(bed.mtus).toEqual([1500, 1500]);
  });

  it('count the rounds in which nothing is answered', () => {
    const bed = new Bed({ out: 0, back: 0 }).steps(100);
    expect(bed.word('silent')).toBeGreaterThan(2);
    expect(bed.word('answered')).toBe(0);
    bed.path = { out: 1500, back: 1500 };
    bed.steps(100);
    expect(bed.word('silent')).toBe(0);
    expect(bed.mtus).toEqual([1500, 1500]);
  });

  it('refuse an answer that was changed, and one of an earlier round', () => {
    const bed = new Bed({ out: 1500, back: 1500 });
    bed.gateway.tick();
    const [probe] = bed.gateway.advance(0).filter(isProbe);
    const [answer] = bed.replica.send([probe]);
    const changed = Uint8Array.from(answer);
    changed[changed.length - 6] ^= 1;
    bed.gateway.clearCounts();
    expect(bed.gateway.send([changed])).toEqual([]);
    expect(bed.gateway.counts()).toEqual({ 'drop.probe-answer-refused': 1 });
    const other = new Bed({ out: 1500, back: 1500 });
    other.steps(30);
    other.gateway.clearCounts();
    other.gateway.send([answer]);
    expect(other.gateway.counts()).toEqual({ 'drop.probe-answer-refused': 1 });
  });

  it('are answered with at most their own size, and only when they are genuine', () => {
    const bed = new Bed({ out: 1500, back: 1500 });
    bed.gateway.tick();
    const probes = bed.gateway.advance(0).filter(isProbe);
    for (const p of probes) {
      const answers = bed.replica.send([p]);
      expect(answers).toHaveLength(1);
      expect(lengthOf(answers[0])).toBeLessThanOrEqual(lengthOf(p));
      expect(parseFrame(answers[0])?.valid).toBe(true);
      for (const at of [62, 70, 71, 76]) {
        const forged = Uint8Array.from(p);
        forged[at] ^= 1;
        expect(
          bed.replica.send([forged]).filter((f) => Buffer.from(f).equals(Buffer.from(forged)) === false),
        ).toEqual([]);
      }
    }
    expect(bed.replica.counts()['drop.probe-forged']).toBeGreaterThan(0);
  });

  it('make new connections announce what passes, and larger packets be refused', () => {
    const bed = new Bed({ out: 1400, back: 1380 }).steps(20);
    const mssOf = (p: Packet): number => {
      const { options } = (p.body.kind === 'ip' ? (p.body as Packet).body : p.body) as Tcp;
      return options[2] * 256 + options[3];
    };
    const sent = bed.gateway.send([frame(syn())]).map((f) => parseFrame(f)!.packet);
    const toR1 = sent.find((p) => p.dst === R1.address)!;
    expect(mssOf(toR1)).toBe(1380 - 20 - 40);
    const [answer] = bed.gateway.send([frame(answerOnWan('C', R1, synAck()))]);
    expect(mssOf(parseFrame(answer)!.packet)).toBe(1400 - 20 - 40);
    const large = fromClient('A', { payload: text('x'.repeat(1400)) });
    bed.gateway.clearCounts();
    const [told] = bed.gateway.send([frame(large)]).map((f) => parseFrame(f)!.packet);
    expect(told).toMatchObject({ src: asService('A').src, dst: CLIENT });
    expect((told.body as Raw).bytes.slice(0, 8)).toEqual([
      3,
      4,
      expect.any(Number),
      expect.any(Number),
      0,
      0,
      5,
      100,
    ]);
    expect(bed.gateway.counts()).toEqual({ 'drop.too-big': 1, 'emit.too-big': 1 });
    const loose = { ...large, df: false };
    const [passed] = bed.gateway.send([frame(loose)]).map((f) => parseFrame(f)!.packet);
    expect(passed.dst).toBe(R1.address);
    const fits = fromClient('A', { payload: text('x'.repeat(1340)) });
    expect(bed.gateway.send([frame(fits)]).map((f) => parseFrame(f)!.packet)).toEqual([
      { ...tunnel(CLIENT, R1.address, fits), id: expect.any(Number) },
    ]);
  });

  it('learn from an ICMP error about a probe, which goes no further', () => {
    const bed = new Bed({ out: 1500, back: 1500 }).steps(20);
    bed.gateway.tick();
    bed.steps(20);
    let probe: Packet | undefined;
    for (let n = 0; probe === undefined && n < 40; n++) {
      bed.gateway.tick();
      const large = bed.gateway.advance(0).filter((f) => isProbe(f) && lengthOf(f) === 1500);
      probe = large.length > 0 ? parseFrame(large[0])!.packet : undefined;
      bed.gateway.advance(TICK_US);
    }
    bed.gateway.clearCounts();
    const error = icmpAbout('192.0.2.66', CLIENT, [3, 4], probe!, { bytes: 80 });
    expect(bed.gateway.send([frame(error)])).toEqual([]);
    expect(bed.gateway.counts()).toEqual({ 'drop.icmp-about-probe': 1 });
    bed.gateway.send([frame(syn())]);
    const [answer] = bed.gateway.send([frame(answerOnWan('C', R1, synAck()))]);
    const { options } = parseFrame(answer)!.packet.body as Tcp;
    expect(options[2] * 256 + options[3]).toBe(1400 - 20 - 40);
  });

  it('keep what is known of a path when others come and go', () => {
    const bed = new Bed({ out: 1400, back: 1400 }).steps(20);
    const r1 = { address: R1_WORD, form: TUNNELLED };
    const other = { address: R1_WORD + 1, form: PLAIN };
    bed.gateway.change({ probed: [other, r1] });
    expect(bed.mtus).toEqual([1400, 1400]);
    expect(bed.gateway.memory.paths[PATH_WORDS + pathWords.address]).toBe(R1_WORD + 1);
    bed.gateway.change({ probed: [other] });
    expect(bed.mtus).toEqual([0, 0]);
    bed.gateway.change({ probed: [other, r1] });
    expect(bed.word('address')).toBe(R1_WORD);
    expect(bed.gateway.memory.paths[PATH_WORDS + pathWords.address]).toBe(R1_WORD + 1);
  });

  it('begin anew for another machine at a place of the list', () => {
    const bed = new Bed({ out: 1400, back: 1400 }).steps(20);
    bed.gateway.change({ probed: [{ address: R1_WORD + 1, form: PLAIN }] });
    expect(bed.mtus).toEqual([0, 0]);
    expect(bed.word('address')).toBe(R1_WORD + 1);
    bed.gateway.change({ probed: [] });
    expect([...bed.gateway.memory.paths.subarray(0, PATH_WORDS)]).toEqual(new Array(PATH_WORDS).fill(0));
  });
});
