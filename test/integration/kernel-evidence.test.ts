// The counters of a machine (`gateway/race/evidence.ts`) for flows that the hooks carry: each rises by what the hooks
// noted of the packet that it names. The hooks run through BPF_PROG_TEST_RUN.
import { describe, expect, it } from 'vitest';
import { evidence, rowOf, SHOWN } from '../../gateway/race/evidence.js';
import { MonotonicClock } from '../../src/device/clock.js';
import { type OpeningHandles, Openings } from '../../src/race/openings.js';
import { parse } from '../../src/wire/address.js';
import { answerOnWan, CONFIGURATIONS, dataOnWan, synAck } from '../contract/row.js';
import {
  asReplica,
  asService,
  CLIENT,
  CLIENT_PORT,
  fromClient,
  R1,
  SERVER_ISN,
  SERVICE,
  SERVICE_PORT,
  syn,
  text,
} from '../support/builder.js';
import { Harness } from '../support/harness.js';
import { frame, type Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import { bed, gateway, ip, kernelOf } from './kernel-bed.js';
import type { Kernel } from './kernel-hooks.js';

bed('evidence');

const request = fromClient('PA', { payload: text('GET / HTTP/1.1\r\n\r\n') });
const page = asService('PA', { seq: SERVER_ISN + 1, payload: text('HTTP/1.1 200 OK') });
const reset = asService('R', { seq: SERVER_ISN + 1 });
const WON = { asked: 1, answered: 1, won: 1 };

class Bed {
  readonly h: Harness;
  constructor(
    readonly kernel: Kernel,
    readonly c: Configuration,
    race: 1 | 2 = 1,
  ) {
    this.h = new Harness('gateway', { configuration: c, race }, kernel.path.handles(0));
    this.h.clock.nowUs = new MonotonicClock().nowUs;
    this.h.tick();
  }
  open(): this {
    for (const p of [syn(), answerOnWan(this.c, R1, synAck())]) this.h.send([frame(p)]);
    this.out(fromClient('A'));
    return this;
  }
  out(p: Packet): void {
    expect(this.kernel.run('gateway_lan_l2', 'lan0', frame(p).subarray(10))).toBeDefined();
  }
  /** @returns whether a hook carried it; if not, it goes through the TUN */
  back(p: Packet): boolean {
    if (this.kernel.run('gateway_wan_l2', 'wan0', frame(p).subarray(10)) !== undefined) return true;
    this.h.send([frame(p)]);
    return false;
  }
  /** Advances the clock of the pipeline, and lets it read the kernel's table. */
  after(ms = 0): Record<string, number> {
    this.h.clock.nowUs = new MonotonicClock().nowUs + ms * 1000;
    this.h.tick();
    const row = rowOf(0, 1);
    const words = SHOWN.map((what) => [what, this.h.memory.evidence[row + evidence[what]]] as const);
    return Object.fromEntries(words.filter(([, n]) => n !== 0));
  }
}

describe.each(CONFIGURATIONS)('configuration %s', (c) => {
  const cases: [string, (b: Bed) => void][] = [
    [
      'requested, firstBytes',
      (b) => {
        b.out(request);
        expect(b.after()).toEqual({ ...WON, requested: 1 });
        expect(b.back(dataOnWan(c, R1, page))).toBe(true);
        expect(b.after(5000)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
      },
    ],
    [
      'noFirstByte: the request stands for three seconds, once; data that come later count too',
      (b) => {
        b.out(request);
        expect(b.after(2900)).toEqual({ ...WON, requested: 1 });
        for (let n = 0; n < 3; n++) expect(b.after(3100)).toEqual({ ...WON, requested: 1, noFirstByte: 1 });
        b.back(dataOnWan(c, R1, page));
        expect(b.after(3100)).toEqual({ ...WON, requested: 1, noFirstByte: 1, firstBytes: 1 });
      },
    ],
    [
      'noFirstByte: the client gives up',
      (b) => {
        b.out(request);
        b.out(fromClient('RA'));
        expect(b.after()).toEqual({ ...WON, requested: 1, noFirstByte: 1 });
      },
    ],
    [
      'reset: by the server before its first byte; in configuration B the reset comes through the TUN',
      (b) => {
        b.out(request);
        expect(b.back(answerOnWan(c, R1, reset))).toBe(c !== 'B');
        expect(b.after()).toEqual({ ...WON, requested: 1, reset: 1 });
      },
    ],
    [
      'nothing: the client sends no request and resets; or the server speaks first',
      (b) => {
        b.back(dataOnWan(c, R1, page));
        b.out(request);
        b.out(fromClient('RA'));
        expect(b.after(5000)).toEqual({ ...WON, requested: 1 });
      },
    ],
    [
      'a first byte that the pipeline carries, after a request that a hook carried',
      (b) => {
        b.out(request);
        b.h.send([frame(dataOnWan(c, R1, page))]);
        expect(b.after(5000)).toEqual({ ...WON, requested: 1, firstBytes: 1 });
      },
    ],
  ];
  it.each(cases)('%s', async (_, check) => {
    const kernel = kernelOf(`evidence-${c.toLowerCase()}`);
    await kernel.path.load();
    check(new Bed(kernel, c).open());
    await kernel.close();
  });
});

it('asked, answered, won: of connections that the kernel opens by itself', async () => {
  const kernel = await gateway('evidence-opened');
  const handles = kernel.path.handles(0);
  const openings = new Openings(handles as unknown as OpeningHandles);
  const b = new Bed(kernel, 'A', 2);
  const word = (text: string): number => parse(text)![3];
  const now = new MonotonicClock().nowUs;
  openings.lease(word(CLIENT) & -256, parse(SERVICE)!, SERVICE_PORT, word(R1.address), R1.port, 1, now);
  // The lot may race a connection: then its SYN is left.
  const opened = [1, 2, 3].find(
    (seq) =>
      kernel.run('gateway_lan_l2', 'lan0', frame(syn({ seq, sport: CLIENT_PORT + seq })).subarray(10)) !==
      undefined,
  )!;
  b.h.send([frame(fromClient('A', {}, { dst: '192.0.2.200' }))]);
  expect(b.after()).toEqual({ asked: 1 });
  const answer = asReplica(R1, asService('SA', { dport: CLIENT_PORT + opened, ack: opened + 1 }));
  expect(b.back(answer)).toBe(true);
  b.h.send([frame(fromClient('A', {}, { dst: '192.0.2.200' }))]);
  expect(b.after()).toEqual(WON);
  ip('link', 'delete', 'tun0');
  await kernel.close();
});
