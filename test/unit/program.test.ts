import { describe, expect, it } from 'vitest';
import { type Claim, claimedTwice } from '../../src/program.js';
import { allocate, MOST_PROGRAMS, ROLES } from '../../src/steer/marks.js';

const claim = (address: string, port: number, protocol: Claim['protocol'] = 'tcp'): Claim => ({
  address,
  port,
  protocol,
});

describe('programs of one host', () => {
  it('must claim disjoint addresses, ports and protocols', () => {
    const race = { name: 'race', claims: [claim('203.0.113.10', 80), claim('203.0.113.10', 443)] };
    const routing = {
      name: 'routing',
      claims: [claim('203.0.113.10', 80, 'udp'), claim('203.0.113.11', 80)],
    };
    expect(claimedTwice([race, routing])).toEqual([]);
    expect(claimedTwice([race, { name: 'routing', claims: [claim('203.0.113.10', 443)] }])).toEqual([
      {
        code: 'FSA_CONFIG_VALUE',
        message: 'programs.routing: 203.0.113.10:443/tcp belongs to program race on this host already',
      },
    ]);
    // One program may claim the same twice: two services in configuration C share a replica's port.
    expect(
      claimedTwice([{ name: 'race', claims: [claim('198.51.100.1', 80), claim('198.51.100.1', 80)] }]),
    ).toEqual([]);
  });
});

describe('marks', () => {
  const all = Array.from({ length: MOST_PROGRAMS + 1 }, (_, program) =>
    ROLES.map((role) => ({ program, role, ...allocate(program, role) })),
  ).flat();

  it('of the race never change, because the kernels of a running fleet have rules for them', () => {
    expect(all.slice(0, 3)).toEqual([
      {
        ...{ program: 0, role: 'gateway', mark: 0x01000000, tunnelMark: 0x05000000, pinnedMark: 0x09000000 },
        ...{ mask: 0x0f000000, table: 7411, tunnelTable: 8411, priority: 7411, tun: 'fsgw0' },
      },
      {
        ...{ program: 0, role: 'origin', mark: 0x02000000, tunnelMark: 0x06000000, pinnedMark: 0x0a000000 },
        ...{ mask: 0x0f000000, table: 7412, tunnelTable: 8412, priority: 7412, tun: 'fsor0' },
      },
      {
        ...{ program: 0, role: 'replica', mark: 0x03000000, tunnelMark: 0x07000000, pinnedMark: 0x0b000000 },
        ...{ mask: 0x0f000000, table: 7413, tunnelTable: 8413, priority: 5, tun: 'fsre0' },
      },
    ]);
  });

  it('match the rules of one program, role and kind only', () => {
    const marks = all.flatMap((a) =>
      [a.mark, a.tunnelMark, a.pinnedMark].map((mark) => ({ mark, mask: a.mask })),
    );
    for (const { mark } of marks) expect(marks.filter((m) => (mark & m.mask) === m.mark)).toHaveLength(1);
    for (const { mark, mask } of marks) {
      expect(mark & ~mask).toBe(0);
      // The adjacent servers of an origin are numbered in the lowest byte.
      expect(mask & 0xff).toBe(0);
    }
  });

  it('have their own tables, preferences and names', () => {
    const tables = all.flatMap((a) => [a.table, a.tunnelTable]);
    expect(new Set(tables).size).toBe(tables.length);
    expect(new Set(all.map((a) => a.priority)).size).toBe(all.length);
    expect(new Set(all.map((a) => a.tun)).size).toBe(all.length);
    for (const { tun } of all) expect(tun.length).toBeLessThanOrEqual(15);
  });

  it('are not allocated for a number beyond the limit', () => {
    for (const n of [-1, 0.5, MOST_PROGRAMS + 1]) expect(() => allocate(n, 'gateway')).toThrow(RangeError);
  });
});
