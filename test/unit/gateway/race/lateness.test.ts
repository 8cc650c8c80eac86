// A machine that has become farther, and a line on which everything is late.
import { describe, expect, it } from 'vitest';
import { readLearned } from '../../../../src/proximity/learned-table.js';
import { asReplica, asService, CLIENT_PORT, fromClient, R1, R2, syn } from '../../../support/builder.js';
import { Harness } from '../../../support/harness.js';
import { frame, type Packet, parseFrame, type Tcp } from '../../../support/naive.js';

const MS = 1000;

/** A gateway whose machines answer after their own times; a connection each 10 ms. */
class Bed {
  readonly h = new Harness('gateway', { configuration: 'A', race: 2, holdSlots: 512 });
  #port = CLIENT_PORT;
  #tickedUs = 0;
  readonly #pending: { atUs: number; f: Uint8Array }[] = [];

  constructor(public rttMs: Record<string, number>) {}

  /** So many connections. */
  connect(n: number): this {
    for (let k = 0; k < n; k++) {
      const sport = this.#port++;
      this.#send([frame(syn({ sport, seq: (sport * 7919) >>> 0 }))]);
      const untilUs = this.h.clock.nowUs + 10 * MS;
      this.#run(untilUs);
    }
    this.#run(this.h.clock.nowUs + 500 * MS);
    return this;
  }

  #run(untilUs: number): void {
    for (;;) {
      this.#pending.sort((a, b) => a.atUs - b.atUs);
      const stepUs = Math.min(untilUs, this.#pending[0]?.atUs ?? untilUs, this.h.clock.nowUs + MS);
      this.#take(this.h.advance(Math.max(0, stepUs - this.h.clock.nowUs)));
      while (this.#pending.length > 0 && this.#pending[0].atUs <= this.h.clock.nowUs)
        this.#send([this.#pending.shift()!.f]);
      if (this.h.clock.nowUs - this.#tickedUs >= 100 * MS) {
        this.#tickedUs = this.h.clock.nowUs;
        this.h.tick();
      }
      if (this.h.clock.nowUs >= untilUs) return;
    }
  }

  #send(frames: Uint8Array[]): void {
    this.#take(this.h.send(frames));
  }

  /** What the gateway sent: SYNs are answered; an acknowledgement to the client tells the winner. */
  #take(out: Uint8Array[]): void {
    for (const f of out) {
      const { packet } = parseFrame(f)!;
      if (packet.body.kind !== 'tcp') continue;
      if (packet.body.flags === 'SA') this.#confirm(packet.body);
      if (packet.body.flags !== 'S') continue;
      const machine = packet.dst === R1.address ? R1 : packet.dst === R2.address ? R2 : undefined;
      const name = machine === undefined ? 'origin' : machine === R1 ? 'r1' : 'r2';
      const { sport, seq } = packet.body;
      const plain: Packet = asService('SA', { dport: sport, ack: (seq + 1) >>> 0 });
      const answer = machine === undefined ? plain : asReplica(machine, plain);
      const ms = this.rttMs[name];
      if (ms !== undefined) this.#pending.push({ atUs: this.h.clock.nowUs + ms * MS, f: frame(answer) });
    }
  }

  /** The client's acknowledgement: else its connections would be half-open. */
  #confirm({ dport, seq, ack }: Tcp): void {
    this.h.send([frame(fromClient('A', { sport: dport, seq: ack, ack: (seq + 1) >>> 0 }))]);
  }

  /** By machine: learned round trip, ms. */
  get learned(): (number | undefined)[] {
    const [entry] = readLearned(this.h.memory.learned);
    return [0, 1, 2].map((c) => {
      const found = entry?.candidates.find((x) => x.candidate === c);
      return found === undefined ? undefined : Math.round(found.rttUs / MS);
    });
  }

  /** How many connections each machine has won so far. */
  get wins(): number[] {
    const [entry] = readLearned(this.h.memory.learned);
    return [0, 1, 2].map((c) => entry?.candidates.find((x) => x.candidate === c)?.wins ?? 0);
  }

  /** Wins during this. */
  during(change: () => unknown): number[] {
    const before = this.wins;
    change();
    return this.wins.map((n, c) => n - before[c]);
  }
}

const NEAR = { r1: 20, r2: 26, origin: 60 };
const known = (): Bed => new Bed({ ...NEAR }).connect(60);

describe('when all machines are late alike', () => {
  it('the nearest stays the nearest, during it and after', () => {
    const bed = known();
    bed.rttMs = { r1: 220, r2: 226, origin: 260 };
    const [, , others] = bed.during(() => bed.connect(100));
    expect(others).toBeLessThanOrEqual(3);
    expect(bed.learned[1]).toBeLessThan(30);
    bed.rttMs = { ...NEAR };
    expect(bed.during(() => bed.connect(100))[1]).toBeGreaterThanOrEqual(97);
  });
});

describe('a machine that alone has become farther', () => {
  it('is left at once, for the one that is nearest now', () => {
    const bed = known();
    bed.rttMs = { ...NEAR, r1: 60 };
    bed.connect(20);
    expect(bed.during(() => bed.connect(100))[2]).toBeGreaterThanOrEqual(97);
  });

  it('or is dead, is left as well', () => {
    const bed = known();
    bed.rttMs = { r2: 26, origin: 60 };
    bed.connect(20);
    expect(bed.during(() => bed.connect(100))[2]).toBeGreaterThanOrEqual(97);
  });

  it('for one answer only, loses that connection only', () => {
    const bed = known();
    bed.rttMs = { ...NEAR, r1: 150 };
    bed.connect(1);
    bed.rttMs = { ...NEAR };
    expect(bed.during(() => bed.connect(100))[1]).toBeGreaterThanOrEqual(97);
  });
});
