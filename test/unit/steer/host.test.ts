import { describe, expect, it } from 'vitest';
import {
  checkAdjacent,
  checkForwardChains,
  checkForwarding,
  checkInterfaces,
  checkInterfacesUp,
  checkLocalAddress,
  checkMasquerade,
  type Host,
  leastMtu,
} from '../../../src/steer/host.js';
import { isAlive, startTime } from '../../../src/steer/record.js';
import { type Prefix, parsePrefix } from '../../../src/wire/address.js';

const HOST: Host = {
  interfaces: [
    { name: 'eth0', mtu: 1500, ethernet: true, addresses: ['10.1.0.1'], networks: ['10.1.0.1/24'] },
    {
      name: 'eth1',
      mtu: 1400,
      ethernet: true,
      addresses: ['198.51.100.1', '198.51.100.2'],
      networks: ['198.51.100.1/24', '198.51.100.2/24'],
    },
  ],
  forwarding: true,
  ruleset: { chains: [], rules: [] },
};
const clients = (...texts: string[]): Prefix[] => texts.map((t) => parsePrefix(t) as Prefix);
const chain = (type: string, hook: string, policy: string) => ({
  family: 'inet',
  table: 't',
  name: 'c',
  type,
  hook,
  policy,
});

describe('the checks of --check', () => {
  it('find no problem on a plain router', () => {
    expect([
      ...checkInterfaces(HOST, ['eth0'], 'lan'),
      ...checkForwarding(HOST),
      ...checkForwardChains(HOST, [{ iif: 'eth0', oif: 'eth1' }]),
      ...checkMasquerade(HOST, ['eth1'], clients('10.1.0.0/16')),
      ...checkLocalAddress(HOST, '198.51.100.2', 'mend'),
    ]).toEqual([]);
  });

  it('name each missing interface, and the existing ones', () => {
    expect(checkInterfaces(HOST, ['eth0', 'eth7', 'eth8'], 'wan')).toEqual([
      { code: 'FSA_INTERFACE_MISSING', message: "wan: there is no interface 'eth7' (there are: eth0, eth1)" },
      { code: 'FSA_INTERFACE_MISSING', message: "wan: there is no interface 'eth8' (there are: eth0, eth1)" },
    ]);
  });

  it('name an interface of the role that is down, and no other', () => {
    const interfaces = HOST.interfaces.map((i) => ({ ...i, isDown: true }));
    expect(checkInterfacesUp({ ...HOST, interfaces }, ['eth1', 'eth9'], 'wan')).toEqual([
      {
        code: 'FSA_INTERFACE_DOWN',
        message: "wan: interface 'eth1' is down, and its routes are gone (ip link set eth1 up)",
      },
    ]);
    expect(checkInterfacesUp(HOST, ['eth0', 'eth1'], 'wan')).toEqual([]);
  });

  it('report each problem, and how to correct it', () => {
    expect(checkForwarding({ ...HOST, forwarding: false })).toMatchObject([
      { code: 'FSA_FORWARDING_OFF', message: expect.stringContaining('sysctl -w net.ipv4.ip_forward=1') },
    ]);
    expect(checkLocalAddress(HOST, '9.9.9.9', 'add it')).toMatchObject([
      { code: 'FSA_ADDRESS_NOT_LOCAL', message: expect.stringContaining('add it') },
    ]);
    const interfaces = [{ ...HOST.interfaces[0], addresses6: ['2001:db8::2'] }];
    expect(checkLocalAddress({ ...HOST, interfaces }, '2001:DB8:0::2', 'add it')).toEqual([]);
    expect(checkLocalAddress({ ...HOST, interfaces }, '2001:db8::3', 'add it')).toHaveLength(1);
  });

  it('report a server that is on none of the given networks', () => {
    const [near] = HOST.interfaces[0].addresses;
    expect(checkAdjacent(HOST, ['eth0'], near.replace(/\d+$/, '77'))).toEqual([]);
    expect(checkAdjacent(HOST, ['eth0'], '9.9.9.9')).toMatchObject([{ code: 'FSA_SERVER_NOT_ADJACENT' }]);
  });

  it('report a chain that drops only once, for any number of legs', () => {
    const host = { ...HOST, ruleset: { chains: [chain('filter', 'forward', 'drop')], rules: [] } };
    const legs = [
      { iif: 'eth0', oif: 'tun' },
      { iif: 'tun', oif: 'eth1' },
    ];
    expect(checkForwardChains(host, legs)).toMatchObject([
      { code: 'FSA_FORWARD_DROPS', message: expect.stringContaining('eth0 → tun') },
    ]);
  });

  it('refuse masquerading', () => {
    const rules = [{ family: 'inet', table: 't', chain: 'c', expr: [{ masquerade: null }] }];
    const host = { ...HOST, ruleset: { chains: [chain('nat', 'postrouting', 'accept')], rules } };
    expect(checkMasquerade(host, ['eth1'], clients('10.1.0.0/16'))).toMatchObject([
      { code: 'FSA_MASQUERADE' },
    ]);
  });

  it.each<[string, unknown, string, boolean]>([
    ["Docker's own prefix", { prefix: { addr: '172.17.0.0', len: 16 } }, '192.0.2.0/24', false],
    ["Docker's prefix, which holds them", { prefix: { addr: '172.17.0.0', len: 16 } }, '172.17.1.0/24', true],
    ['a prefix inside a client prefix', { prefix: { addr: '192.0.2.128', len: 25 } }, '192.0.2.0/24', true],
    ['one address of another host', '198.51.100.4', '192.0.2.0/24', false],
    ['one address of a client', '192.0.2.4', '192.0.2.0/24', true],
    [
      'a list without client addresses',
      { set: ['10.0.0.1', { prefix: { addr: '172.17.0.0', len: 16 } }] },
      '192.0.2.0/24',
      false,
    ],
    ["a list with a client's address", { set: ['10.0.0.1', '192.0.2.9'] }, '192.0.2.0/24', true],
    ['a named set', '@inside', '192.0.2.0/24', true],
    ['a range', { range: ['10.0.0.1', '10.0.0.9'] }, '192.0.2.0/24', true],
  ])('check which sources are masqueraded: %s', (_, right, ours, problem) => {
    const source = { payload: { protocol: 'ip', field: 'saddr' } };
    const expr = [{ match: { op: '==', left: source, right } }, { masquerade: null }];
    const rules = [{ family: 'inet', table: 't', chain: 'c', expr }];
    const host = { ...HOST, ruleset: { chains: [chain('nat', 'postrouting', 'accept')], rules } };
    const codes = checkMasquerade(host, ['eth1'], clients(ours)).map((p) => p.code);
    expect(codes).toEqual(problem ? ['FSA_MASQUERADE'] : []);
  });

  it('know the least MTU', () => {
    expect(leastMtu(HOST, ['eth0', 'eth1'])).toBe(1400);
    expect(leastMtu(HOST, ['eth0'])).toBe(1500);
    expect(leastMtu(HOST, [])).toBe(1500);
  });
});

describe('a process', () => {
  it('is known by its start time too: a reused pid is another process', () => {
    const started = startTime(process.pid);
    expect(started).toMatch(/^\d+$/);
    expect(isAlive(process.pid, started)).toBe(true);
    expect(isAlive(process.pid, '1')).toBe(false);
    expect(isAlive(2 ** 22 + 1, started)).toBe(false);
    expect(isAlive(2 ** 22 + 1, '')).toBe(false);
  });
});
