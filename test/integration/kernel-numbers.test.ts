// Numbers that the kernel's hooks share with TypeScript, beyond their old ends.
import { describe, expect, it } from 'vitest';
import { MonotonicClock } from '../../src/device/clock.js';
import { type EndpointHandles, KernelEndpoints } from '../../src/fastpath/endpoints.js';
import { ENDPOINT_KEY, ENDPOINT_VALUE } from '../../src/fastpath/layout.js';
import { bpf } from '../../src/fastpath/native.js';
import { OPENINGS, opening } from '../../src/race/kernel-layout.js';
import { type OpeningHandles, Openings } from '../../src/race/openings.js';
import { fromV4, parse } from '../../src/wire/address.js';
import { CLIENT, R1, SERVICE, SERVICE_PORT, syn } from '../support/builder.js';
import { frame } from '../support/naive.js';
import { bed, gateway, ip, kernelOf } from './kernel-bed.js';

bed('numbers');

describe('tickets of openings', () => {
  it('go on beyond 2^32: the slot holds their low half', async () => {
    const kernel = await gateway('numbers-tickets', 8192);
    const begin = 2 ** 32 - 3;
    const words = Uint32Array.of(begin, 0, begin, 0);
    const { tickets } = kernel.path.handles(0);
    bpf.update(tickets, new Uint8Array(4), 4, new Uint8Array(words.buffer), words.byteLength, 1);
    const handles = kernel.path.handles(0) as unknown as OpeningHandles;
    // Every slot has been used once in 2^32 tickets.
    const { buffer, byteOffset } = bpf.map(handles.openings, OPENINGS * opening.stride);
    const slots = new Int32Array(buffer, byteOffset);
    for (let slot = 0; slot < OPENINGS; slot++)
      slots[(slot * opening.stride + opening.ticket) / 4] = begin - OPENINGS;
    const openings = new Openings(handles);
    expect(openings.read).toBe(begin);
    const word = (text: string): number => parse(text)![3];
    let opened = 0;
    for (let n = 0; opened < 6; n++) {
      const now = new MonotonicClock().nowUs;
      openings.lease(word(CLIENT) & -256, parse(SERVICE)!, SERVICE_PORT, word(R1.address), R1.port, 1, now);
      const sport = 1024 + n;
      if (kernel.run('gateway_lan_l2', 'lan0', frame(syn({ seq: n, sport })).subarray(10)) === undefined)
        continue;
      const slot = openings.next();
      expect(slot).toBe((begin + opened++) % OPENINGS);
      expect([openings.isn(slot), openings.next()]).toEqual([n, -1]);
      openings.finish(openings.read);
    }
    expect(openings.read).toBe(begin + 6);
    ip('link', 'delete', 'tun0');
    await kernel.close();
  });
});

describe('endpoints in the kernel', () => {
  it('are taken out when the program forgets them; those of a predecessor only once it is known who needs them', async () => {
    const kernel = kernelOf('numbers-endpoints');
    await kernel.path.load();
    const fds = kernel.path.handles(0) as unknown as EndpointHandles;
    const endpoint = (n: number) => ({
      ...{ address: fromV4(0x0a000000 + n), port: 80 },
      ...{ service: parse(SERVICE)!, servicePort: 80, mode: 0 },
    });
    const inKernel = (): number[] => {
      const keys = new Uint8Array(64 * ENDPOINT_KEY);
      const n = bpf.scan(fds.endpoints, new Uint8Array(4), 1, keys, new Uint8Array(64 * ENDPOINT_VALUE), 64);
      const view = new DataView(keys.buffer);
      return Array.from({ length: -1 - n }, (_, i) => view.getUint32(i * ENDPOINT_KEY + 12) & 255).sort(
        (a, b) => a - b,
      );
    };
    new KernelEndpoints(fds).load([1, 2, 3].map(endpoint), false);
    const next = new KernelEndpoints(fds);
    next.load([3, 4, 5].map(endpoint), false);
    expect(inKernel()).toEqual([1, 2, 3, 4, 5]);
    next.load([4].map(endpoint), false);
    expect(inKernel()).toEqual([1, 2, 4]);
    next.load([4, 6].map(endpoint), true);
    expect(inKernel()).toEqual([4, 6]);
    next.load([], true);
    expect(inKernel()).toEqual([]);
    await kernel.close();
  });
});
