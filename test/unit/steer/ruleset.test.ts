import { describe, expect, it } from 'vitest';
import { forwardDrops, masquerades, parseRuleset, type Ruleset } from '../../../src/steer/ruleset.js';

// Expressions in the shapes of `nft -j list ruleset` (nftables 1.0.6).
type Expr = Record<string, unknown>;
const counter = { counter: { packets: 0, bytes: 0 } };
const accept = { accept: null };
const drop = { drop: null };
const jump = (target: string): Expr => ({ jump: { target } });
const goTo = (target: string): Expr => ({ goto: { target } });
const meta = (key: string, right: unknown, op = '=='): Expr => ({
  match: { op, left: { meta: { key } }, right },
});
const ctState = (right: unknown, op = 'in'): Expr => ({
  match: { op, left: { ct: { key: 'state' } }, right },
});
const payload = (protocol: string, field: string, right: unknown): Expr => ({
  match: { op: '==', left: { payload: { protocol, field } }, right },
});
const vmap = (...set: [string, Expr][]): Expr => ({ vmap: { key: { ct: { key: 'state' } }, data: { set } } });

interface Table {
  family?: string;
  hook?: string;
  type?: string;
  policy?: string;
  base?: string;
  chains?: Record<string, Expr[][]>;
}
function ruleset(rules: Expr[][], t: Table = {}): Expr[] {
  const {
    family = 'ip',
    hook = 'forward',
    type = 'filter',
    policy = 'accept',
    base = 'FORWARD',
    chains = {},
  } = t;
  const table = 'filter';
  const rule = (chain: string) => (expr: Expr[]) => ({ rule: { family, table, chain, handle: 1, expr } });
  return [
    { metainfo: { version: '1.0.6', release_name: 'Lester Gooch #5', json_schema_version: 1 } },
    { table: { family, name: table, handle: 1 } },
    ...Object.keys(chains).map((name) => ({ chain: { family, table, name, handle: 1 } })),
    { chain: { family, table, name: base, handle: 4, type, hook, prio: 0, policy } },
    ...Object.entries(chains).flatMap(([name, r]) => r.map(rule(name))),
    ...rules.map(rule(base)),
  ];
}
const parsed = (...parts: Expr[][]) => parseRuleset(JSON.stringify({ nftables: parts.flat() }));
const LEG = { iif: 'eth1', oif: 'fsgw0' };
const texts = (ruleset: Ruleset): string[] =>
  forwardDrops(ruleset, LEG).map((d) => `${d.chain}: ${d.reason}`);
const drops = (rules: Expr[][], t: Table = {}): string[] => texts(parsed(ruleset(rules, t)));
const DROP = { policy: 'drop' };
const POLICY = ['ip filter FORWARD: its policy is drop'];

describe('the forward chains of this host', () => {
  it('let every packet pass where there are none', () => {
    expect(forwardDrops(parsed([]), LEG)).toEqual([]);
    expect(drops([])).toEqual([]);
  });

  it('may drop by policy', () => {
    expect(drops([], DROP)).toEqual(POLICY);
    expect(drops([[counter]], DROP)).toEqual(POLICY);
  });

  it.each<[string, Expr[]]>([
    ['anything', [accept]],
    ['our ingress interface', [meta('iifname', 'eth1'), accept]],
    ['a pattern of names', [meta('iifname', 'eth*'), meta('oifname', 'fsgw0'), counter, accept]],
    ['an interface of a set', [meta('oifname', { set: ['eth0', 'fsgw0'] }), accept]],
    ['every interface but another one', [meta('iif', 'lo', '!='), accept]],
    ['TCP', [meta('l4proto', 'tcp'), accept]],
    ['TCP among others', [meta('l4proto', { set: ['tcp', 'udp'] }), accept]],
    ['IPv4', [meta('nfproto', 'ipv4'), accept]],
    ['untracked packets', [ctState({ set: ['new', 'untracked'] }, '=='), accept]],
    ['untracked packets in a list', [ctState(['established', 'untracked']), accept]],
    ['a state map', [vmap(['invalid', drop], ['established', accept], ['untracked', accept])]],
  ])('are open where a rule accepts %s', (_, expr) => {
    expect(drops([expr], DROP)).toEqual([]);
  });

  it.each<[string, Expr[]]>([
    ['another ingress interface', [meta('iifname', 'eth0'), accept]],
    ['other egress interfaces', [meta('oifname', { set: ['eth0', 'eth2'] }), accept]],
    ['every interface but ours', [meta('iifname', 'eth1', '!='), accept]],
    ['UDP', [meta('l4proto', 'udp'), accept]],
    ['tracked packets', [ctState(['established', 'related']), accept]],
    ['packets by an unknown match', [payload('tcp', 'dport', 80), accept]],
    ['packets up to a rate', [{ limit: { rate: 1, burst: 5, per: 'second' } }, accept]],
    ['a mark', [meta('mark', 5), accept]],
    ['a state map without untracked', [vmap(['invalid', drop], ['established', accept])]],
  ])('drop by policy where a rule accepts only %s', (_, expr) => {
    expect(drops([expr], DROP)).toEqual(POLICY);
  });

  it.each<[string, Expr[], string]>([
    ['a plain drop', [drop], 'a rule in FORWARD drops everything from eth1 to fsgw0'],
    [
      'a reject',
      [{ log: { prefix: 'x' } }, { reject: { type: 'icmpx', expr: 'port-unreachable' } }],
      'a rule in FORWARD drops everything from eth1 to fsgw0',
    ],
    [
      'a drop for all other egress interfaces',
      [meta('oifname', 'eth0', '!='), drop],
      'a rule in FORWARD drops everything from eth1 to fsgw0',
    ],
    ['a state map', [vmap(['untracked', drop])], 'untracked packets are dropped'],
  ])('drop because of %s', (_, expr, why) => {
    expect(drops([expr])).toEqual([`ip filter FORWARD: ${why}`]);
    // An earlier accept makes the packet pass.
    expect(drops([[accept], expr])).toEqual([]);
  });

  it('are not reported because of an unknown match', () => {
    expect(drops([[payload('tcp', 'flags', 'syn'), drop]])).toEqual([]);
    expect(drops([[ctState('invalid'), drop]])).toEqual([]);
  });

  describe("with Docker's rules", () => {
    const docker = (user: Expr[][]): Table => ({
      policy: 'drop',
      chains: {
        'DOCKER-USER': user,
        DOCKER: [[meta('iifname', 'docker0', '!='), meta('oifname', 'docker0'), drop]],
        'DOCKER-FORWARD': [[jump('DOCKER')], [meta('iifname', 'docker0'), accept]],
      },
    });
    const forward = [
      [counter, jump('DOCKER-USER')],
      [counter, jump('DOCKER-FORWARD')],
    ];

    it('drop packets that belong to no container', () => {
      expect(drops(forward, docker([[counter, { return: null }]]))).toEqual(POLICY);
    });

    it('let packets pass by a rule in DOCKER-USER', () => {
      expect(drops(forward, docker([[meta('iifname', 'eth1'), accept], [{ return: null }]]))).toEqual([]);
    });

    it('continue after a jump, and not after a goto', () => {
      const chains = { other: [[meta('iifname', 'eth9'), accept]] };
      expect(drops([[jump('other')], [accept]], { policy: 'drop', chains })).toEqual([]);
      expect(drops([[goTo('other')], [accept]], { policy: 'drop', chains })).toEqual(POLICY);
    });

    it('are evaluated to an end, for any jumps', () => {
      expect(drops([[jump('FORWARD')]], DROP)).toEqual(POLICY);
    });
  });

  it('count only for IPv4, on the forward hook, as filters; each chain that drops is reported', () => {
    expect(drops([], { ...DROP, family: 'ip6' })).toEqual([]);
    expect(drops([], { ...DROP, hook: 'input' })).toEqual([]);
    expect(drops([], { ...DROP, type: 'route' })).toEqual([]);
    const two = parsed(ruleset([], DROP), ruleset([], { ...DROP, family: 'inet', base: 'forward' }));
    expect(texts(two)).toEqual([...POLICY, 'inet filter forward: its policy is drop']);
  });
});

describe('masquerading', () => {
  const NAT = { hook: 'postrouting', type: 'nat', base: 'POSTROUTING' };
  const found = (rules: Expr[][], more: Table = {}): string[] =>
    masquerades(parsed(ruleset(rules, { ...NAT, ...more })), 'eth1');
  const here = ['ip filter POSTROUTING'];
  const masquerade = { masquerade: null };

  it.each<[string, Expr[]]>([
    ['of everything', [masquerade]],
    ['on this interface', [meta('oifname', 'eth1'), masquerade]],
    ['on every interface but another one', [meta('oifname', 'docker0', '!='), counter, masquerade]],
    ['to one address', [{ snat: { addr: '1.2.3.4' } }]],
    [
      'of random packets',
      [payload('ip', 'saddr', { prefix: { addr: '10.0.0.0', len: 8 } }), { masquerade: { flags: 'random' } }],
    ],
  ])('is found %s', (_, expr) => {
    expect(found([expr])).toEqual(here);
  });

  it('is found behind a jump', () => {
    expect(
      found([[jump('X')]], { chains: { X: [[meta('oifname', { set: ['eth1', 'eth2'] }), masquerade]] } }),
    ).toEqual(['ip filter X']);
    expect(found([[meta('oifname', 'eth2'), jump('X')]], { chains: { X: [[masquerade]] } })).toEqual([]);
  });

  it('of other interfaces does not matter', () => {
    expect(
      found([
        [meta('oifname', 'eth2'), masquerade],
        [meta('oifname', 'eth1', '!='), masquerade],
      ]),
    ).toEqual([]);
    expect(found([[accept]])).toEqual([]);
    expect(found([[masquerade]], { type: 'filter' })).toEqual([]);
  });

  it('of IPv6 does not matter, in a table of the same name with chains of the same name', () => {
    const both = parsed(ruleset([], NAT), ruleset([[masquerade]], { ...NAT, family: 'ip6' }));
    expect(masquerades(both, 'eth1')).toEqual([]);
  });
});
