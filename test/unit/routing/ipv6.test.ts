// What role files, sessions and steering make of IPv6 in service-level routing.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import pino from 'pino';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { problems as slrProblems } from '../../../origin/routing/config.js';
import { steering as slrSteering } from '../../../origin/routing/steering.js';
import { problems as serverProblems } from '../../../replica/routing/config.js';
import { steering as serverSteering } from '../../../replica/routing/steering.js';
import { Events } from '../../../src/events/events.js';
import { waitUntil } from '../../../src/lab/process.js';
import { makeAuthority, makeCertificate } from '../../../src/lab/routed/certificates.js';
import { HelloClient } from '../../../src/routing/hello-client.js';
import { HelloServer } from '../../../src/routing/hello-server.js';
import { hookAttachments } from '../../../src/routing/kernel-layout.js';
import type { Downward } from '../../../src/routing/messages.js';
import { secureOptions } from '../../../src/routing/session.js';

const WEB = { name: 'web', subnet: '203.0.113.80/32', protocols: ['tcp', 'udp'], ports: [] };
const WEB6 = { ...WEB, name: 'web6', subnet: '2001:db8:80::80/128' };
const ADDRESS6 = '2001:db8:51::1';
const base = {
  ...{ tun: { name: 'tun9' }, wan: ['wan0'], lan: ['lan0'], address: '198.51.100.1' },
  steering: { mark: 0x100000, tunnelMark: 0x200000, pinnedMark: 0x300000, mask: 0xfff0000 },
  ...{ policy: { cost: 'load', aggregate: 'mean' }, neighbours: [] },
};
const at = (path: readonly (string | number)[]): string => path.join('.');

describe('a role file', () => {
  const of = (more: object): never => ({ ...base, ...more }) as never;
  it.each([
    ['a router', (more: object) => slrProblems(of(more), at)],
    ['a server', (more: object) => serverProblems(of(more), at)],
  ])('of %s needs address6 for virtual hosts of IPv6: one error names them', (_, problems) => {
    expect(problems({ virtual: [WEB] })).toEqual([]);
    expect(problems({ virtual: [WEB, WEB6], address6: ADDRESS6 })).toEqual([]);
    const both = { virtual: [WEB, WEB6, { ...WEB6, name: 'dns6', subnet: '2001:db8:80::53/128' }] };
    expect(problems(both)).toEqual([
      {
        code: 'FSA_CONFIG_VALUE',
        message:
          "virtual: web6, dns6: 'address6' is needed for virtual hosts of IPv6, whose tunnels are of IPv6",
      },
    ]);
  });
});

describe('steering', () => {
  const router = (more: object) => slrSteering({ ...base, ...more } as never, 'x', 1500, 'on');
  const server = (more: object, routers: string[]) =>
    serverSteering({ ...base, ...more } as never, 'x', routers, 1500);

  it('is of IPv4 alone where no virtual host is of IPv6', () => {
    for (const s of [router({ virtual: [WEB] }), server({ virtual: [WEB] }, ['198.51.100.9/32'])])
      expect([s.v6, /ip6|icmpv6/.test(s.body)]).toEqual([false, false]);
  });

  it('of a router leads virtual hosts, tunnels and errors of both families to it', () => {
    const { v6, body } = router({ virtual: [WEB, { ...WEB6, ports: [80] }], address6: ADDRESS6 });
    expect(v6).toBe(true);
    for (const rule of [
      'ip6 daddr 2001:db8:51::1 ip6 nexthdr 41 ',
      'ip6 daddr 2001:db8:51::1 icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } @th,112,8 41 ',
      'ip6 daddr 2001:db8:80::80/128 icmpv6 type ',
      'ip6 daddr 2001:db8:80::80/128 tcp dport { 80 } ',
      'ip6 daddr 2001:db8:80::80/128 udp dport { 80 } ',
      'ip daddr 203.0.113.80/32 meta l4proto tcp ',
    ])
      expect(body).toContain(`iifname { "wan0", "lan0" } ${rule}`);
  });

  it('of a server leads tunnels of both families to it, and announces segments that fit into them', () => {
    const routers = ['198.51.100.9/32', '2001:db8:51::9/128'];
    const { v6, body } = server({ virtual: [WEB, WEB6], address6: ADDRESS6 }, routers);
    expect(v6).toBe(true);
    expect(body).toContain('ip saddr { 198.51.100.9/32 } ip daddr 198.51.100.1 ip protocol 4');
    expect(body).toContain('ip6 saddr { 2001:db8:51::9/128 } ip6 daddr 2001:db8:51::1 ip6 nexthdr 41');
    const size = (rule: string): number => Number(new RegExp(`${rule}.* size set (\\d+)`).exec(body)?.[1]);
    expect(size('ip saddr 203.0.113.80/32')).toBe(1500 - 20 - 20 - 20);
    expect(size('ip6 saddr 2001:db8:80::80/128')).toBe(1500 - 40 - 40 - 20);
  });
});

describe('hooks', () => {
  it('of IPv6 are attached beside those of IPv4 where they are wanted', () => {
    const host = { interfaces: [] };
    const v4 = { interface: 'wan0', direction: 'ingress', ethernet: true, hook: 'slr_in' };
    expect(hookAttachments(host, ['wan0'], 'slr_in', false)).toEqual([v4]);
    expect(hookAttachments(host, ['wan0'], 'slr_in', true)).toEqual([
      v4,
      { ...v4, hook: 'slr_in6', ipv6: true },
    ]);
  });
});

describe('a session', () => {
  const directory = mkdtempSync('/tmp/firstack-sessions6-');
  const events = new Events('test', pino({ level: 'silent' }), null);
  const secure = (name: string): ReturnType<typeof secureOptions> =>
    secureOptions({
      caFile: `${directory}/ca.pem`,
      certFile: `${directory}/${name}.pem`,
      keyFile: `${directory}/${name}.key`,
    });
  const rights = 'subnet=203.0.113.80/32&subnet=2001:db8:80::/64&target=198.18.0.1/32';
  const welcome: Extract<Downward, { type: 'welcome' }> = {
    ...{
      type: 'welcome',
      v: 1,
      id: 'n1',
      level: 'network',
      address: '198.18.0.9',
      address6: '2001:db8:51::9',
    },
    ...{ intervalMs: 100, sources: ['198.18.0.9/32'], sources6: ['2001:db8:51::9/128'] },
  };
  let server: HelloServer;
  let client: HelloClient | undefined;

  beforeEach(async () => {
    await makeAuthority(directory);
    await makeCertificate(directory, 'n1', { uri: `firstack:routing?id=n1&level=network&${rights}` });
    server = new HelloServer({
      ...{ host: '127.0.0.1', port: 0, level: 'network', intervalMs: 100, events },
      ...{ welcome: () => welcome, onChange: () => {} },
    });
    await server.start(secure('n1'));
  });
  afterEach(async () => {
    client?.stop();
    await server.stop();
    for (const file of readdirSync(directory)) rmSync(`${directory}/${file}`);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  /** Says hello as a server whose certificate covers this too. @returns the member that the router knows, with a state */
  async function join(more: string): Promise<ReturnType<HelloServer['members']['get']>> {
    await makeCertificate(directory, 's1', { uri: `firstack:routing?id=s1&level=server&${rights}${more}` });
    const state = { load: 0, available: true, servers: 1 };
    client = new HelloClient({
      uppers: [`127.0.0.1:${(server.address as AddressInfo).port}`],
      ...{ id: 's1', level: 'server', address: '198.18.0.1', address6: '2001:db8:51::1', events },
      state: () => ['203.0.113.80/32', '2001:db8:80::80/128'].map((subnet) => ({ subnet, ...state })),
      onChange: () => {},
    });
    client.start(secure('s1'));
    const member = () => server.members.get('s1');
    await waitUntil(() => (member()?.subnets.length ?? 0) > 0, 5000);
    return member();
  }
  const subnetsOf = (member: Awaited<ReturnType<typeof join>>): string[] | undefined =>
    member?.subnets.map((s) => s.subnet);

  it('tells both ends the addresses and the subnets of both families', async () => {
    const member = await join('&target=2001:db8:51::1/128');
    expect(member?.address6).toBe('2001:db8:51::1');
    expect(subnetsOf(member)).toEqual(['203.0.113.80/32', '2001:db8:80::80/128']);
    expect(client!.known[0]?.address6).toBe('2001:db8:51::9');
    expect(client!.sources).toEqual(['198.18.0.9/32', '2001:db8:51::9/128']);
    const { v: _v, ...changed } = { ...welcome, type: 'sources' as const, sources6: [] };
    server.tell(changed);
    expect(await waitUntil(() => client!.sources.length === 1, 5000)).toBe(true);
  });

  it('of a member whose certificate does not cover its address of IPv6 goes on with IPv4, and that is said', async () => {
    const member = await join('');
    expect(member).toBeDefined();
    expect(member?.address6).toBeUndefined();
    expect(subnetsOf(member)).toEqual(['203.0.113.80/32']);
    const said = events.since(0).filter((e) => e.kind === 'member-address6');
    expect(said.map((e) => [e.subject, e.message])).toEqual([
      ['s1', 'gets no connections over IPv6: its certificate covers no tunnel to 2001:db8:51::1'],
    ]);
  });
});
