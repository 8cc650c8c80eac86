import { describe, expect, it } from 'vitest';
import {
  chooseFastpath,
  decideFastpath,
  describeFastpath,
  rulesOnTheWay,
} from '../../../src/fastpath/choose.js';
import type { Host } from '../../../src/steer/host.js';

interface ChainText {
  family?: string;
  table?: string;
  hook?: string;
  policy?: string;
  rules?: number;
}

/** A host with these chains, each with the given number of rules. */
function host(...chains: ChainText[]): Host {
  const named = chains.map((c, n) => ({
    family: 'ip',
    table: 'filter',
    hook: 'forward',
    policy: 'accept',
    type: 'filter',
    rules: 0,
    ...c,
    name: `chain${n}`,
  }));
  return {
    interfaces: [],
    forwarding: true,
    ruleset: {
      chains: named,
      rules: named.flatMap((c) =>
        Array.from({ length: c.rules }, () => ({
          family: c.family,
          table: c.table,
          chain: c.name,
          expr: [{ counter: {} }],
        })),
      ),
    },
  };
}

describe('rules that redirected packets bypass', () => {
  it('are those of chains that forwarded packets pass', () => {
    const h = host(
      { rules: 1 },
      { rules: 0 },
      { policy: 'drop' },
      { hook: 'postrouting', rules: 1 },
      { hook: 'input', rules: 1 },
      { hook: 'prerouting', rules: 1 },
      { family: 'inet', rules: 2 },
      { family: 'ip6', rules: 1 },
      { family: 'netdev', hook: 'ingress', rules: 1 },
    );
    expect(rulesOnTheWay(h)).toEqual([
      'ip filter chain0',
      'ip filter chain2',
      'ip filter chain3',
      'ip filter chain5',
      'inet filter chain6',
      'netdev filter chain8',
    ]);
  });

  it('are those of family ip6 too where packets of IPv6 are carried', () => {
    const h = host({ family: 'ip6', rules: 1 }, { family: 'ip6', hook: 'input', rules: 1 });
    expect(rulesOnTheWay(h)).toEqual([]);
    expect(rulesOnTheWay(h, true)).toEqual(['ip6 filter chain0']);
    const legs = [{ iif: 'lan0', oif: 'wan0', isShared: true, isV6: true }];
    expect(decideFastpath('auto', h, '', '')).toMatchObject({ how: 'on' });
    expect(decideFastpath('auto', h, '', '', { ipv6: true })).toMatchObject({ how: 'stack' });
    expect(decideFastpath('auto', h, '', '', { translated: legs })).toMatchObject({ how: 'stack' });
    const drops = host({ family: 'ip6', policy: 'drop' });
    expect(() => decideFastpath('stack', drops, '', '', { translated: legs })).toThrow(
      /nft add rule ip6 filter chain0/,
    );
    expect(decideFastpath('stack', drops, '', '')).toMatchObject({ how: 'stack', why: 'as asked' });
    expect(decideFastpath('auto', drops, '', '', { translated: legs })).toMatchObject({
      how: 'off',
      why: expect.stringContaining('nft add rule ip6 filter chain0'),
    });
  });
});

const AGAINST = 'this host translates sources on the WAN';

describe('--fastpath', () => {
  it('off is off', async () => {
    const choice = await chooseFastpath('off', host({ rules: 1 }), AGAINST, 'race');
    expect(choice).toEqual({ how: 'off', why: 'as asked', skipped: [] });
    expect(describeFastpath(choice)).toBe('fastpath off: as asked');
  });

  it('is off on a host that masquerades its clients, or an error where the operator requires it', async () => {
    expect(await chooseFastpath('auto', host(), AGAINST, 'race')).toMatchObject({
      how: 'off',
      why: expect.stringContaining('translates sources'),
    });
    for (const asked of ['on', 'stack'] as const)
      await expect(chooseFastpath(asked, host(), AGAINST, 'race')).rejects.toThrow(/translates sources/);
  });

  it('says which chains redirected packets bypass', () => {
    const choice = { how: 'on', why: 'as asked', skipped: ['ip filter FORWARD', 'inet fw post'] } as const;
    expect(describeFastpath({ ...choice, skipped: [...choice.skipped] })).toBe(
      'fastpath on: as asked; redirected packets bypass ip filter FORWARD, inet fw post',
    );
  });
});
