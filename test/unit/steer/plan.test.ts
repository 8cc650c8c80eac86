import { describe, expect, it } from 'vitest';
import * as plan from '../../../src/steer/plan.js';

const STEERING: plan.Steering = {
  instance: 'edge-1',
  tun: 'fsgw0',
  mark: 0x01000000,
  mask: 0x0f000000,
  table: 7411,
  priority: 7411,
  tunnelMark: 0x05000000,
  pinnedMark: 0x09000000,
  tunnelTable: 8411,
  tunnelMtu: undefined,
  body: plan.set('clients', 'ipv4_addr', ['10.1.0.0/16']),
  beforeLocal: false,
  sysctls: [],
};

describe('steering as text', () => {
  it('replaces the table of its instance, and no other, atomically', () => {
    expect(plan.nftText(STEERING)).toBe(
      [
        'table inet firstack_edge_1 {}',
        'delete table inet firstack_edge_1',
        'table inet firstack_edge_1 {',
        '  set clients {',
        '    type ipv4_addr',
        '    flags interval',
        '    elements = { 10.1.0.0/16 }',
        '  }',
        '}',
        '',
      ].join('\n'),
    );
  });

  it('has sets without elements, and each element once, in order', () => {
    expect(plan.set('none', 'ipv4_addr . inet_service', [])).toBe(
      '  set none {\n    type ipv4_addr . inet_service\n  }\n',
    );
    expect(plan.set('two', 'ipv4_addr', ['2.2.2.2', '1.1.1.1', '2.2.2.2'])).toContain('{ 1.1.1.1, 2.2.2.2 }');
    expect(plan.set('two', 'ipv4_addr', ['1.1.1.1'])).not.toContain('interval');
  });

  it('has chains before connection tracking', () => {
    expect(plan.chain('prerouting', 'prerouting', 'filter', ['a', 'b'])).toBe(
      '  chain prerouting {\n    type filter hook prerouting priority raw; policy accept;\n    a\n    b\n  }\n',
    );
  });

  it('sets its own bits of the mark and keeps the others', () => {
    expect(plan.steerTo({ mark: 0x01000000, mask: 0x0f000000 })).toBe(
      'meta mark set meta mark & 0xf0ffffff | 0x01000000',
    );
    expect(plan.steerTo({ mark: 0x80000000, mask: 0xffffffff })).toBe(
      'meta mark set meta mark & 0x00000000 | 0x80000000',
    );
  });

  it('quotes interface names', () => {
    expect(plan.interfaces(['eth0', 'br.5'])).toBe('{ "eth0", "br.5" }');
  });

  it('plans a rule for each masked mark', () => {
    expect(plan.ruleArguments(STEERING).map((r) => r.join(' '))).toEqual([
      'pref 7411 fwmark 0x1000000/0xf000000 lookup 7411',
      'pref 7411 fwmark 0x5000000/0xf000000 lookup 8411',
    ]);
    expect(plan.steerIntoTunnel(STEERING)).toBe('meta mark set meta mark & 0xf0ffffff | 0x05000000');
  });

  it('locks the MTU of the route for packets that will be encapsulated, and of no other', () => {
    const routes = (s: plan.Steering): string[] => plan.routeArguments(s).map((r) => r.join(' '));
    expect(routes(STEERING)).toEqual(['default dev fsgw0 table 7411', 'default dev fsgw0 table 8411']);
    expect(routes({ ...STEERING, tunnelMtu: 1480 })).toEqual([
      'default dev fsgw0 table 7411',
      'default dev fsgw0 table 8411 mtu lock 1480',
    ]);
  });

  it("describes everything for --check, the local table's rule only where it moves", () => {
    const text = plan.describe({
      ...STEERING,
      sysctls: [{ key: 'net.ipv4.conf.eth0.arp_ignore', value: '1' }],
    });
    for (const line of [
      plan.nftText(STEERING).trimEnd(),
      'ip address add 192.0.0.8/32 dev fsgw0 scope link',
      'ip route add default dev fsgw0 table 7411',
      'ip route add default dev fsgw0 table 8411',
      'ip rule add pref 7411 fwmark 0x1000000/0xf000000 lookup 7411',
      'ip rule add pref 7411 fwmark 0x5000000/0xf000000 lookup 8411',
      'net.ipv4.conf.fsgw0.rp_filter = 2',
      'net.ipv4.conf.fsgw0.accept_local = 1',
      'net.ipv4.conf.eth0.arp_ignore = 1',
    ])
      expect(text).toContain(line);
    expect(text).not.toContain('lookup local');
    expect(plan.describe({ ...STEERING, beforeLocal: true })).toContain(
      'ip rule add pref 10 lookup local\nip rule del pref 0 lookup local',
    );
  });

  it('never touches rp_filter of all interfaces', () => {
    expect(plan.tunSysctls('fsgw0').map((s) => s.key)).toEqual([
      'net.ipv4.conf.fsgw0.rp_filter',
      'net.ipv4.conf.fsgw0.accept_local',
    ]);
  });
});
