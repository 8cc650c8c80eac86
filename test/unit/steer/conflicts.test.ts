import { describe, expect, it } from 'vitest';
import { sharedWith, sharedWithRules } from '../../../src/steer/conflicts.js';
import { allocate, ROLES } from '../../../src/steer/marks.js';

const race = allocate(0, 'gateway');
const messages = (problems: { message: string }[]): string[] => problems.map((p) => p.message);

describe('two instances of one host', () => {
  it('with default steering share everything', () => {
    expect(messages(sharedWith(race, 'gw1', race))).toEqual([
      'steering: tun.name fsgw0, routing table 7411, routing table 8411, mark 0x1000000/0xf000000, mark 0x5000000/0xf000000 belong to instance gw1 of this host: give this one others',
    ]);
  });

  it('of different roles and programs share nothing', () => {
    const all = [0, 1, 2, 15].flatMap((program) => ROLES.map((role) => allocate(program, role)));
    for (const a of all) for (const b of all) if (a !== b) expect(sharedWith(a, 'other', b)).toEqual([]);
  });
});

describe('policy rules of other software', () => {
  const rule = (fwmark: string, fwmask: string | undefined, table: string) => ({
    priority: 100,
    fwmark,
    fwmask,
    table,
  });

  it('that match our marks are named', () => {
    expect(messages(sharedWithRules(race, [rule('0x1', undefined, '100')], []))).toEqual([]);
    expect(messages(sharedWithRules(race, [rule('0x1000000', undefined, '100')], []))).toEqual([
      'steering: mark 0x1000000/0xf000000 is used by other software: ip rule pref 100 fwmark 0x1000000/0xffffffff lookup 100',
    ]);
    // Bits of others: Kubernetes, Tailscale.
    expect(
      sharedWithRules(race, [rule('0x4000', '0x4000', '100'), rule('0x80000', '0xff0000', '52')], []),
    ).toEqual([]);
  });

  it("to our own tables are a killed predecessor's", () => {
    expect(sharedWithRules(race, [rule('0x1000000', '0xf000000', '7411')], [])).toEqual([]);
  });
});
