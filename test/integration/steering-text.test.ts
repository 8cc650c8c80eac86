/**
 * The nftables text of every role, checked by `nft -c`, which changes nothing. It needs root, so it is not a unit
 * test.
 */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { Fleet } from '../../gateway/race/fleet.js';
import { steering as gatewaySteering } from '../../gateway/race/steering.js';
import { steering as originSteering } from '../../origin/race/steering.js';
import { steering as replicaSteering } from '../../replica/race/steering.js';
import { CONFIGURATIONS, type RaceService, type ReplicaRecord } from '../../src/race/records.js';
import { nftText, type Steering } from '../../src/steer/plan.js';
import { Files } from '../support/files.js';
import { raceView } from '../support/race-view.js';
import { readGatewayConfig, readOriginConfig, readReplicaConfig } from '../support/role-files.js';

const files = new Files();
const common = 'instance: t-1\nwan: [eth1, "wan.5"]\nlan: [eth0]\nregistry: file:x\n';
const check = (s: Steering): string =>
  execFileSync('nft', ['-c', '-f', '-'], { input: nftText(s), encoding: 'utf8' });

const service = (n: number): RaceService => ({
  name: `s${n}`,
  address: `203.0.113.${n}`,
  ports: [80, 443],
  configuration: CONFIGURATIONS[n],
  replicable: true,
  raceWindowMs: 500,
});
const replica = (n: number): ReplicaRecord => ({
  v: 1,
  id: `r${n}`,
  address: `198.51.100.${n}`,
  services: [{ name: `s${n}` }],
  state: 'up',
  reason: '',
  connections: 0,
  load: 0,
  clock: 'free',
});

describe('nft accepts the steering', () => {
  const gateway = readGatewayConfig({
    configFile: files.write(
      `${common}tag: {gatewayId: 1, keyFile: k}\nprefixes: [10.1.0.0/16, 10.3.0.0/24]\n`,
    ),
  });

  it('of a gateway with services of every configuration, and with none', () => {
    const fleet = new Fleet();
    expect(
      check(gatewaySteering(gateway, 't-1', fleet, { tunnelMtu: 1480, masqueraded: false, kernel: 'on' })),
    ).toBe('');
    expect(
      check(gatewaySteering(gateway, 't-1', fleet, { tunnelMtu: 1480, masqueraded: true, kernel: 'off' })),
    ).toBe('');
    expect(
      check(gatewaySteering(gateway, 't-1', fleet, { tunnelMtu: 1480, masqueraded: false, kernel: 'stack' })),
    ).toBe('');
    fleet.update(raceView({ services: [0, 1, 2].map(service), replicas: [0, 1, 2].map(replica) }), undefined);
    expect(
      check(gatewaySteering(gateway, 't-1', fleet, { tunnelMtu: 1480, masqueraded: false, kernel: 'on' })),
    ).toBe('');
  });

  it('of an origin', () => {
    const origin = readOriginConfig({
      configFile: files.write(
        `${common}tag: {keyFile: k}\naddress: 198.51.100.1\nservices: [{name: w, address: 203.0.113.10, ports: [80, 443], configuration: A}]\n`,
      ),
    });
    expect(check(originSteering(origin, 't-1', { servers: [], services: [], seed: 1 }))).toBe('');
  });

  it('of a replica with services of every configuration, and with none', () => {
    const config = readReplicaConfig({
      configFile: files.write(
        `${common}tag: {keyFile: k}\nid: r1\naddress: 198.51.100.11\nservices: [{name: w}]\n`,
      ),
    });
    const carried = CONFIGURATIONS.map((configuration, n) => ({
      name: `s${n}`,
      address: `203.0.113.${n}`,
      port: 80,
      localPort: 8080 + n,
      configuration,
    }));
    expect(check(replicaSteering(config, 't-1', carried, 1480, 'off'))).toBe('');
    expect(check(replicaSteering(config, 't-1', [], 1480, 'on'))).toBe('');
  });

  it('and nft refuses invalid text', () => {
    const bad = {
      ...gatewaySteering(gateway, 't-1', new Fleet(), { tunnelMtu: 1480, masqueraded: false, kernel: 'on' }),
      body: '  chain x { type nonsense }\n',
    };
    expect(() => execFileSync('nft', ['-c', '-f', '-'], { input: nftText(bad), stdio: 'pipe' })).toThrow();
  });
});
