import { describe, expect, it } from 'vitest';
import type { Answered } from '../../../src/operate/asked.js';
import { type Examined, examine, type Told } from '../../../src/operate/examine.js';
import { redisLine, remedyOf } from '../../../src/operate/remedies.js';

const REDIS = 'redis://user:***@198.18.2.2:6379';
const views = { service: { count: 1, hash: 'aaaaaaaa' }, replica: { count: 2, hash: 'bbbbbbbb' } };

function role(part: Partial<Examined> & { instance: string; role: string }): Answered<Examined> {
  const { instance } = part;
  return {
    admin: `unix:/run/firstack/lab/x/${instance}.sock`,
    answer: {
      file: `/etc/firstack/${instance}.yaml`,
      ready: { ready: true, reasons: [] },
      registry: { kind: 'redis', url: REDIS, connected: true, clockOffsetMs: 0, views },
      ...part,
    },
  };
}
const reasons = (...list: string[]) => ({ ready: { ready: false, reasons: list } });
const services = [{ name: 'web', configuration: 'A' }];
const machine = (id: string, part: object = {}) => ({
  ...{ id, address: `198.18.11.${id.slice(1)}`, state: 'up', reason: '' },
  services: [{ name: 'web', port: 80 }],
  ...part,
});
const gateway = (part: Partial<Examined> = {}) =>
  role({ instance: 'gw', role: 'gateway', services, replicas: [machine('r1'), machine('r2')], ...part });
const origin = (part: Partial<Examined> = {}) => role({ instance: 'or', role: 'origin', ...part });
const replica = (id: string, part: Partial<Examined> = {}) =>
  role({ instance: id, role: 'replica', id, state: 'up', reason: '', ...part });
const silent = (host: string, said = ''): Answered<Examined> => ({
  admin: `unix:/run/firstack/lab/x/${host}.sock`,
  problem: `unix:/run/firstack/lab/x/${host}.sock/v1/status: connect ECONNREFUSED`,
  said,
});
const fleet = (...changed: Answered<Examined>[]): Answered<Examined>[] => {
  const whole = [gateway(), origin(), replica('r1'), replica('r2')];
  return whole.map((a) => changed.find((c) => c.admin === a.admin) ?? a);
};
const found = (answers: Answered<Examined>[], told: Told[] = []): string[] =>
  examine(answers, told).map((f) => `${f.where}: ${f.what} | ${f.run}`);

describe('examine', () => {
  it('finds nothing in a whole fleet', () => {
    expect(found(fleet())).toEqual([]);
  });

  it('says a problem of a host once, and leaves out what follows from it', () => {
    const address =
      '203.0.113.10 is not an address of this host: configuration C: the web server answers as the service: ip address add 203.0.113.10/32 dev lo';
    const ill = replica('r2', {
      ...reasons(`FSA_ADDRESS_NOT_LOCAL: ${address}`),
      ...{ state: 'inactive', reason: address },
    });
    expect(found(fleet(ill))).toEqual([
      `r2: FSA_ADDRESS_NOT_LOCAL: ${address} | ip address add 203.0.113.10/32 dev lo`,
    ]);
  });

  it('names an interface that is down, and not that the machine cannot be measured then', () => {
    const down =
      "FSA_INTERFACE_DOWN: wan: interface 'wan0' is down, and its routes are gone (ip link set wan0 up)";
    const ill = replica('r2', reasons('ip route default was removed, and could not be put back: no', down));
    const sees = origin({
      candidates: [
        { id: 'r2', address: '198.18.12.2', service: 'web', raced: false, state: 'up', why: 'not measured' },
      ],
    });
    expect(found(fleet(ill, sees))).toEqual([`r2: ${down} | ip link set wan0 up`]);
    expect(found(fleet(sees))).toEqual([
      'or: machine r2 at 198.18.12.2 is not raced for web: not measured | ',
    ]);
  });

  it('says a lost registry once, with the line that asks it', () => {
    const lost = reasons('registry lost 2500 ms ago: going on with the last view: Command timed out');
    const all = [gateway(lost), origin(lost), replica('r1', lost), replica('r2', lost)];
    expect(found(fleet(...all))).toEqual([
      `registry: registry ${REDIS} does not answer (Command timed out): all 4 roles go on with the last view | redis-cli -h 198.18.2.2 -p 6379 ping`,
    ]);
    const oom = reasons('registry lost 20 ms ago: going on with the last view: OOM command not allowed');
    expect(found(fleet(...[gateway(oom), origin(oom), replica('r1', oom), replica('r2', oom)]))[0]).toMatch(
      /refuses writes \(OOM.*all 4 roles.*INFO memory/,
    );
    expect(found(fleet(replica('r2', lost)))[0]).toMatch(/^registry: .* r2 of 4 roles: look at the way/);
  });

  it('names a role that does not answer, its last words, and the line for these', () => {
    expect(found(fleet(silent('r2')))).toEqual([
      'r2: no role answers at unix:/run/firstack/lab/x/r2.sock: is it running? (connect ECONNREFUSED) | tail -n 20 /run/firstack/lab/x/r2.log',
    ]);
    expect(found(fleet(silent('r2', 'FSA_IDENTITY_TAKEN: another machine runs as replica r1')))[0]).toMatch(
      /the last that it said: FSA_IDENTITY_TAKEN.* \| grep .*r2\.yaml/,
    );
  });

  it('says what a health check asks, and all servers of a service as one', () => {
    const check = 'curl -sS http://198.18.12.2/healthz';
    const ill = replica('r2', { state: 'inactive', reason: 'health check: HTTP 500', check });
    expect(found(fleet(ill))).toEqual([
      `r2: takes no new connections: inactive: health check: HTTP 500 | ${check}`,
    ]);
    const server = (name: string, healthy: boolean) => ({
      ...{ service: 'web', server: name, healthy, check: `curl ${name}` },
      reason: healthy ? '' : 'health check: HTTP 500',
    });
    expect(found(fleet(origin({ servers: [server('a', true), server('b', false)] })))).toEqual([
      'or: server b of web gets no connections: health check: HTTP 500 | curl b',
    ]);
    const both = fleet(origin({ servers: [server('a', false), server('b', false)] }));
    expect(found(both)).toHaveLength(1);
    expect(found(both)[0]).toMatch(/^or: all 2 servers of web are down: a .*, b .* \| curl a$/);
  });

  it('has the figures of an ejection, and the line that asks the machine', () => {
    const told = {
      instance: 'gw',
      events: [
        {
          at: 1,
          level: 'warn' as const,
          kind: 'ejected',
          subject: 'web/r2',
          message: 'r2 is not raced for web: 3 of 3',
        },
      ],
    };
    const machines = [{ service: 'web', id: 'r2', state: 'ejected', why: 'fails' }];
    expect(found(fleet(gateway({ machines })), [told])).toEqual([
      'gw: machine r2 is not raced for web: 3 of 3 | curl -sS -o /dev/null -D - -m 3 http://198.18.11.2:80/   # from this gateway',
    ]);
    expect(found(fleet(gateway({ machines })))[0]).toMatch(/machine r2 is not raced for web: it fails/);
  });

  it('asks on the host of a machine that does not answer here, and says a service without replicas last', () => {
    const replicas = ['r1', 'r2'].map((id) => machine(id, { state: 'inactive', reason: 'drained' }));
    const [first, second, last] = found([gateway({ replicas })]);
    expect(first).toMatch(/machine r1 takes no new connections: inactive: drained \| firstack doctor .*r1/);
    expect(second).toMatch(/machine r2/);
    expect(last).toMatch(/service web has no replica that is up \(of 2\)/);
    expect(found([gateway({ replicas: [] })])).toEqual([]);
  });

  it('names the role file where roles have different registries', () => {
    const other = { kind: 'redis', url: 'redis://other', connected: true, clockOffsetMs: 0, views: {} };
    const lonely = { ...other, views: { service: { count: 0, hash: 'cccccccc' } } };
    expect(found(fleet(replica('r2', { registry: lonely })))).toEqual([
      `registry: roles have different registries, and see different records: gw, or, r1: ${REDIS}; r2: redis://other | grep -n "^registry" /etc/firstack/r2.yaml`,
    ]);
    const same = { ...lonely, url: REDIS };
    expect(found(fleet(replica('r2', { registry: same })))[0]).toMatch(
      /^registry: views of service records differ/,
    );
  });

  it('says the same of several roles once, and notes what is as the operator wanted it', () => {
    const replicas = [machine('r1'), machine('r3', { state: 'inactive', reason: 'drained' })];
    const two = ['gw1', 'gw2'].map((instance) => role({ instance, role: 'gateway', services, replicas }));
    expect(found(two)).toEqual([expect.stringMatching(/^gw1, gw2: machine r3 takes no new connections/)]);
    const full = ['the flow table is full (flows.max): new connections go to the origin'];
    expect(found(fleet(replica('r1', { full }), replica('r2', { full })))).toHaveLength(2);
    const fought = [7411, 7413].map(
      (n) => `ip rule pref ${n} was removed again and again: no longer put back`,
    );
    expect(found(fleet(gateway(reasons(...fought))))).toEqual([
      expect.stringMatching(/^gw: ip rule pref 7411 .* \(and 1 more\) \| firstack events/),
    ]);
    const fastpath = { asked: 'on', how: 'on', why: 'as asked', bypasses: 'inet fw f' };
    const [note] = examine(fleet(gateway({ fastpath })), []);
    expect(note).toMatchObject({ isNote: true, what: expect.stringContaining('bypass inet fw f') });
    expect(examine(fleet(gateway({ fastpath: { ...fastpath, asked: 'auto', bypasses: '' } })), [])).toEqual(
      [],
    );
  });
});

describe('remedyOf', () => {
  it.each<[string, string]>([
    ['net.ipv4.ip_forward is 0 (sysctl -w net.ipv4.ip_forward=1)', 'sysctl -w net.ipv4.ip_forward=1'],
    [
      'the forward chain inet fw f: its policy is drop (nft add rule inet fw f iifname "a" accept; nft add rule inet fw f oifname "a" accept)',
      'nft add rule inet fw f iifname "a" accept; nft add rule inet fw f oifname "a" accept',
    ],
    [
      'the forward chain ip filter (iptables-legacy) FORWARD: x (iptables-legacy -t filter -A FORWARD -j ACCEPT)',
      'iptables-legacy -t filter -A FORWARD -j ACCEPT',
    ],
    ['nothing that is known', ''],
  ])('takes the line with which a message ends: %s', (message, line) => {
    expect(remedyOf(message)).toBe(line);
  });

  it('fills in the role file, the registry and the admin address', () => {
    const place = { file: '/f.yaml', registry: 'rediss://u:***@h', admin: 'unix:/s' };
    expect(remedyOf('FSA_MASQUERADE: ip nat post translates sources', place)).toMatch(
      /^nft -a list chain ip nat post /,
    );
    expect(remedyOf('FSA_IDENTITY_TAKEN: x', place)).toMatch(/ \/f\.yaml /);
    expect(remedyOf('registry lost 1 ms ago', place)).toBe('redis-cli --tls -h h -p 6379 ping');
    expect(remedyOf('x: an operator requested it', place)).toBe('firstack replica resume --admin unix:/s');
  });

  it.each([
    ['redis+unix:///run/redis.sock', 'redis-cli -s /run/redis.sock'],
    ['redis://h:7000', 'redis-cli -h h -p 7000'],
    ['redis+sentinel://u:***@a:1,b:2/main', 'redis-cli -h a -p 1'],
    ['', 'redis-cli'],
  ])('asks Redis at %s', (url, line) => {
    expect(redisLine(url)).toBe(line);
  });
});
