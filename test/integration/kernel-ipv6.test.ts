// The kernel's hooks carry pinned flows over IPv6 as the TUN's pipeline does: the same bytes, but for the hop limit.
// What they cannot carry they leave unchanged. Through BPF_PROG_TEST_RUN.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ipv6Table } from '../contract/ipv6-table.js';
import { answer, CLIENT, Gateway6, R1, R2, R2_PORT, SERVICE, SYN } from '../support/gateway6.js';
import { frame6, read6, type Tcp6 } from '../support/v6.js';
import { bed, gateway, ip, stayAwake } from './kernel-bed.js';
import { hex, type Kernel, LEFT, REDIRECT } from './kernel-hooks.js';

bed('v6');

const HOP_LIMIT = 7;
const EXTENSION: [number, number[]][] = [[60, [0, 0, 1, 4, 0, 0, 0, 0]]];
const FRAGMENT: [number, number[]][] = [[44, [0, 0, 0, 1, 0, 0, 0, 9]]];
const up = { ...SYN, seq: 1001, ack: 7001, flags: 'PA', payload: [1, 2, 3] };
const down = { ...answer(R2, R2_PORT), flags: 'PA', seq: 7001, payload: [9, 8, 7, 6] };

let kernel: Kernel;
let g: Gateway6;
/** The same gateway without a kernel. */
let plain: Gateway6;

beforeAll(async () => {
  kernel = await gateway('v6');
});
afterAll(async () => {
  await kernel.close();
  ip('link', 'del', 'tun0');
});

function decide(winner: string, port: number): void {
  kernel.clear();
  g = new Gateway6(undefined, {}, kernel.path.handles(0));
  plain = new Gateway6();
  stayAwake(kernel.path.descriptor('awake'));
  for (const each of [g, plain]) {
    each.send(SYN);
    each.send(answer(winner, port));
  }
}

const lan = (packet: Uint8Array) => kernel.run('gateway_lan_l2', 'lan0', packet);
const wan = (packet: Uint8Array) => kernel.run('gateway_wan_l2', 'wan0', packet);
type Some = Partial<Tcp6> & Pick<Tcp6, 'src' | 'dst'>;

/** That a hook made of a frame what the pipeline makes of it. */
function expectSame(hook: typeof lan, frame: Uint8Array): Uint8Array {
  const packet = frame.subarray(10);
  const made = hook(packet);
  expect(made).toBeDefined();
  expect(made![HOP_LIMIT]).toBe(packet[HOP_LIMIT] - 1);
  made![HOP_LIMIT]++;
  const expected = plain.frames(frame.slice());
  expect(expected.map((f) => hex(f.subarray(10)))).toEqual([hex(made!)]);
  return made!;
}

describe('a flow of a replica with another port', () => {
  beforeAll(() => decide(R2, R2_PORT));

  it.each([
    ['three bytes', up],
    ['no payload', { ...up, payload: [], flags: 'A' }],
    ['1,440 bytes', { ...up, payload: Array.from({ length: 1440 }, (_, k) => k % 251) }],
    ['a FIN', { ...up, flags: 'FA', payload: [] }],
  ])('%s from the client go to the replica', (_, p: Some) => {
    const made = expectSame(lan, frame6(p));
    expect(read6(Uint8Array.from([...Array(10).fill(0), ...made]))).toMatchObject({
      ...{ src: CLIENT, dst: R2, dport: R2_PORT, isSound: true },
    });
  });

  it('what the replica sends goes to the client as the service', () => {
    const made = expectSame(wan, frame6(down));
    expect(read6(Uint8Array.from([...Array(10).fill(0), ...made]))).toMatchObject({
      ...{ src: SERVICE, sport: 80, dst: CLIENT, dport: 40_000, isSound: true },
    });
  });

  it('traffic class and flow label stay', () => {
    const frame = frame6(up);
    frame.set([0x6b, 0xa5, 0x12, 0x34], 10);
    expect([...expectSame(lan, frame).subarray(0, 4)]).toEqual([0x6b, 0xa5, 0x12, 0x34]);
  });

  it('a bad checksum stays bad [rule 29]', () => {
    const frame = frame6(up);
    frame[frame.length - 1] ^= 0xff;
    const made = expectSame(lan, frame);
    expect(read6(Uint8Array.from([...Array(10).fill(0), ...made])).isSound).toBe(false);
  });

  it.each([
    ['an extension header', lan, frame6({ ...up, headers: EXTENSION })],
    ['a fragment', lan, frame6({ ...up, headers: FRAGMENT })],
    ['one byte more than the way out carries', lan, frame6({ ...up, payload: Array(1441).fill(0) })],
    ['another client port', lan, frame6({ ...up, sport: 40_001 })],
    ['another machine', wan, frame6({ ...down, src: R1, sport: 80 })],
    ['another port of the machine', wan, frame6({ ...down, sport: 80 })],
    ['the same tuple with a SYN', wan, frame6({ ...down, flags: 'S' })],
  ])('%s is left to the stack', (_, hook, frame) => {
    expect(hook(frame.subarray(10))).toBeUndefined();
    expect(kernel.verdict).toBe(LEFT);
  });

  it('an expiring hop limit is left to the stack', () => {
    const packet = frame6(up).slice(10);
    packet[HOP_LIMIT] = 1;
    expect(lan(packet)).toBeUndefined();
    expect(kernel.verdict).toBe(LEFT);
  });

  it('a truncated packet, and one that claims more than there is, are left to the stack', () => {
    const packet = frame6(up).slice(10);
    for (let length = 40; length < 60; length += 5) {
      expect(lan(packet.slice(0, length))).toBeUndefined();
      expect(kernel.verdict).toBe(LEFT);
    }
    packet[5] += 1;
    expect(lan(packet)).toBeUndefined();
  });

  it('a reset ends it, in the kernel as in the pipeline', () => {
    expectSame(wan, frame6({ ...down, flags: 'RA', payload: [] }));
    g.pass(200_000);
    expect(kernel.path.totals()['in.packets']).toBeGreaterThan(0);
  });
});

/** The hooks in front of a pipeline: what they leave goes there. */
class Hooked6 extends Gateway6 {
  override frames(...frames: Uint8Array[]): Uint8Array[] {
    return frames.flatMap((frame) => {
      const packet = frame.subarray(10);
      // 2001:db8:0::/48
      const isClient = packet[12] === 0 && packet[13] === 0;
      const made = isClient ? lan(packet) : wan(packet);
      return made === undefined ? super.frames(frame) : [Uint8Array.from([...Array(10).fill(0), ...made])];
    });
  }
}

describe('configuration A, with hooks: a race over IPv6', () => {
  let before = 0;
  beforeAll(() => {
    before = kernel.path.totals()['out.packets'];
  });
  beforeEach(() => kernel.clear());
  ipv6Table((race) => new Hooked6(race, {}, kernel.path.handles(0)));

  it('was carried by the hooks', () => {
    expect(kernel.path.totals()['out.packets'] - before).toBeGreaterThanOrEqual(3);
  });
});

it("an origin's flow passes as it is", () => {
  decide(SERVICE, 80);
  const frame = frame6(up);
  const made = lan(frame.subarray(10))!;
  made[HOP_LIMIT]++;
  expect(hex(made)).toBe(hex(frame.subarray(10)));
  const back = frame6({ ...down, src: SERVICE, sport: 80 });
  const returned = wan(back.subarray(10))!;
  returned[HOP_LIMIT]++;
  expect(hex(returned)).toBe(hex(back.subarray(10)));
});

it('an address with an IPv4 address inside is never that of an IPv4 flow', () => {
  const low = frame6({ ...up, src: '::ffff:10.0.0.7', dst: '::ffff:203.0.113.10' });
  expect(lan(low.subarray(10))).toBeUndefined();
  expect(kernel.verdict).toBe(LEFT);
});

it('SYNs go to the TUN, and past it while its reader is late', () => {
  decide(R2, R2_PORT);
  const syn = frame6({ ...SYN, sport: 40_009 }).subarray(10);
  expect(lan(syn)).toBeUndefined();
  expect(kernel.verdict).toBe(REDIRECT);
  stayAwake(kernel.path.descriptor('awake'), false);
  const late = kernel.path.totals()['left.late'];
  expect(lan(syn)).toBeUndefined();
  expect(kernel.verdict).toBe(LEFT);
  expect(kernel.path.totals()['left.late']).toBe(late + 1);
  stayAwake(kernel.path.descriptor('awake'));
  // Neither another client's nor one to another port.
  for (const other of [
    { ...SYN, src: '2001:db8:0:2::7' },
    { ...SYN, dport: 81 },
  ]) {
    expect(lan(frame6(other).subarray(10))).toBeUndefined();
    expect(kernel.verdict).toBe(LEFT);
  }
});

it('while the reader is late, a flow that has ended claims no packet of the next connection of its tuple', () => {
  decide(R2, R2_PORT);
  const out = (p: Some): void => void lan(frame6(p).subarray(10));
  out({ ...up, flags: 'RA', payload: [] });
  stayAwake(kernel.path.descriptor('awake'), false);
  const late = (): number => kernel.path.totals()['left.late'];
  const before = late();
  out(SYN);
  wan(frame6({ ...down, src: SERVICE, sport: 80, flags: 'SA', payload: [] }).subarray(10));
  out({ ...up, flags: 'A', payload: [] });
  expect([late() - before, kernel.verdict]).toEqual([3, LEFT]);
  stayAwake(kernel.path.descriptor('awake'));
});

it('a next process adopts the flow with its winner', () => {
  decide(R2, R2_PORT);
  const next = new Gateway6(undefined, {}, kernel.path.handles(0));
  expect(next.send(up)).toMatchObject([{ dst: R2, dport: R2_PORT, isSound: true }]);
});
