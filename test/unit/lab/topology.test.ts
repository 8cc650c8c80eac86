import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, it } from 'vitest';
import { FirstackError } from '../../../src/errors.js';
import { arrivals, expectedWinner, knownTopologies, loadTopology } from '../../../src/lab/topology.js';

const directory = mkdtempSync(`${tmpdir()}/firstack-topology-`);
afterAll(() => rmSync(directory, { recursive: true }));

function load(yaml: string) {
  const file = `${directory}/t.yaml`;
  writeFileSync(file, yaml);
  return loadTopology(file);
}

function refusal(yaml: string): FirstackError {
  try {
    load(yaml);
  } catch (error) {
    if (error instanceof FirstackError) return error;
    throw error;
  }
  throw new Error('the file was accepted');
}

const HOSTS = 'hosts: {gateway: {}, origin: {}, r2: {}, r10: {limits: {connections: 5}}, r1: {}}\n';

describe('the topology file', () => {
  it('uses the opposite direction for a missing direction, and 0 for a missing pair', () => {
    const t = load(`${HOSTS}delaysMs: {gateway: {r1: 5, origin: 7}, origin: {gateway: 9}}\n`);
    expect(t.delaysMs.r1.gateway).toBe(5);
    expect(t.delaysMs.gateway.origin).toBe(7);
    expect(t.delaysMs.origin.gateway).toBe(9);
    expect(t.delaysMs.r1.r2).toBe(0);
  });

  it('orders replicas by number and fills in defaults', () => {
    const t = load(`${HOSTS}delaysMs: {}\n`);
    expect(t.replicas).toEqual(['r1', 'r2', 'r10']);
    expect(t.limits).toEqual({
      r1: { connections: 10_000, cpuPct: 100 },
      r2: { connections: 10_000, cpuPct: 100 },
      r10: { connections: 5, cpuPct: 100 },
    });
    expect(t.services).toEqual([{ name: 'web', address: '203.0.113.10', ports: [80], raceWindowMs: 500 }]);
  });

  it("accepts a service's own configuration", () => {
    const t = load(
      `${HOSTS}delaysMs: {}\nservices: [{name: web, address: 203.0.113.10, configuration: B}]\n`,
    );
    expect(t.services[0].configuration).toBe('B');
    expect(() =>
      load(`${HOSTS}delaysMs: {}\nservices: [{name: web, address: 203.0.113.10, configuration: D}]\n`),
    ).toThrow(FirstackError);
  });

  it('reports every problem of a file at once, with its line', () => {
    const { problems } = refusal(
      'hosts: {gateway: {}, origin: {}}\ndelaysMs: {gateway: {origin: -1}}\npathes: {}\n',
    );
    expect(problems.map((p) => p.code).sort()).toEqual(['FSA_CONFIG_INVALID', 'FSA_CONFIG_UNKNOWN_KEY']);
    expect(problems.find((p) => p.code === 'FSA_CONFIG_UNKNOWN_KEY')?.message).toMatch(
      /t\.yaml:3:1: .*did you mean 'paths'/,
    );
  });

  it.each([
    ['an unknown host', 'delaysMs: {gateway: {r3: 1}}', "'r3' is not among the hosts"],
    [
      'no web server for the health check',
      'delaysMs: {}\nservices: [{name: a, address: 203.0.113.10, webServer: false}]',
      'the first service needs a web server',
    ],
    [
      'a path to an unknown host',
      'delaysMs: {}\npaths: {"r1>r4": {lossPct: 1}}',
      "'r4' is not among the hosts",
    ],
    [
      'one port for two services',
      'delaysMs: {}\nservices: [{name: a, address: 203.0.113.10}, {name: b, address: 203.0.113.11}]',
      'port 80 is given twice',
    ],
  ])('refuses %s', (_, yaml, message) => {
    expect(refusal(HOSTS + yaml).message).toContain(message);
  });

  it('lists the known topologies when a name is unknown', () => {
    expect(() => loadTopology('no-such')).toThrow(/known: asymmetric, origin-nearest, replica-nearest/);
  });
});

describe('the built-in topologies', () => {
  const by = (n: number[]) => n.sort((a, b) => a - b);

  it.each(knownTopologies())(
    '%s has margins of 25 ms, by delay and in the race with either release',
    (name) => {
      const t = loadTopology(name);
      const back = by(['origin', ...t.replicas].map((id) => t.delaysMs[id].gateway));
      expect(back[1] - back[0]).toBeGreaterThanOrEqual(25);
      for (const release of ['synchronized', 'immediate'] as const) {
        const [first, second] = arrivals(t, release);
        expect(first.id).toBe(expectedWinner(t, release));
        expect(second.atMs - first.atMs).toBeGreaterThanOrEqual(25);
      }
    },
  );

  it.each([
    ['replica-nearest', 'r2', 'origin'],
    ['origin-nearest', 'origin', 'origin'],
    ['asymmetric', 'r3', 'origin'],
  ])('%s: synchronized finds %s, immediate %s', (name, synchronized, immediate) => {
    const t = loadTopology(name);
    expect(expectedWinner(t, 'synchronized')).toBe(synchronized);
    expect(expectedWinner(t, 'immediate')).toBe(immediate);
  });

  it('are three, and asymmetric is', () => {
    expect(knownTopologies()).toHaveLength(3);
    const { delaysMs } = loadTopology('asymmetric');
    expect(delaysMs.gateway.r3).not.toBe(delaysMs.r3.gateway);
  });
});

describe('arrivals', () => {
  it('makes a replica beyond the race window late by its excess', () => {
    const t = load(
      `hosts: {gateway: {}, origin: {}, r1: {}, r2: {}}
delaysMs: {gateway: {origin: 50, r1: 10, r2: 10}, origin: {r1: 40, r2: 130}}
services: [{name: web, address: 203.0.113.10, raceWindowMs: 100}]
`,
    );
    expect(arrivals(t, 'synchronized')).toEqual([
      { id: 'r1', atMs: 110 },
      { id: 'r2', atMs: 140 },
      { id: 'origin', atMs: 150 },
    ]);
  });
});

describe('a farm in the topology file', () => {
  const TWO = 'hosts: {gateway: {}, origin: {}}\n';

  it('is one more host of the WAN, with delays of each machine from and to gateway and origin', () => {
    const t = load(
      `${TWO}farm: {machines: 3}\ndelaysMs: {gateway: {m1: 5, m3: 7}, m3: {gateway: 8, origin: 9}}\n` +
        `paths: {"m2>gateway": {jitterMs: 2}}\n`,
    );
    expect(t.farm).toEqual({ machines: 3, answersProbes: false });
    expect(t.wanHosts).toEqual(['gateway', 'origin', 'farm']);
    expect(t.delaysMs.m1).toEqual({ gateway: 5, origin: 0 });
    expect(t.delaysMs.m3).toEqual({ gateway: 8, origin: 9 });
    expect(t.delaysMs.gateway).toMatchObject({ m1: 5, m2: 0, m3: 7 });
    expect(t.delaysMs.origin.m3).toBe(9);
  });

  it('has no machines but those that it counts', () => {
    expect(refusal(`${TWO}farm: {machines: 3}\ndelaysMs: {gateway: {m4: 1}}\n`).message).toContain(
      "'m4' is not among the hosts",
    );
    expect(refusal(`${TWO}delaysMs: {gateway: {m1: 1}}\n`).message).toContain("'m1' is not among the hosts");
  });
});
