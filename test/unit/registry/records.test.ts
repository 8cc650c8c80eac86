import { describe, expect, it } from 'vitest';
import { validate } from '../../../src/config.js';
import { type ProximityRecord, proximityKind } from '../../../src/proximity/record.js';
import { endpointConflict, ownersIn } from '../../../src/race/claims.js';
import {
  type GatewayRecord,
  gatewayKind,
  type OriginRecord,
  originKind,
  type RaceService,
  type ReplicaRecord,
  racePart,
  raceServices,
  replicaKind,
  replicaPort,
  serviceRecordOf,
} from '../../../src/race/records.js';
import type { RecordKind, View } from '../../../src/registry/kinds.js';
import { serviceKindFor } from '../../../src/registry/service.js';
import { raceView } from '../../support/race-view.js';

const serviceKind = serviceKindFor({ race: racePart });

const service = (
  name: string,
  address: string,
  configuration: 'A' | 'B' | 'C',
  ports = [80],
): RaceService => ({
  name,
  address,
  ports,
  configuration,
  replicable: true,
  raceWindowMs: 500,
});
const replica = (id: string, address: string, ...services: [string, number?][]): ReplicaRecord => ({
  v: 1,
  id,
  address,
  services: services.map(([name, port]) => (port === undefined ? { name } : { name, port })),
  state: 'up',
  reason: '',
  connections: 0,
  load: 0,
  clock: 'free',
});
const web = service('web', '203.0.113.10', 'A', [80, 443]);
const RECORDS = {
  service: { v: 1, ...web },
  replica: replica('r1', '198.51.100.11', ['web', 8080]),
  gateway: { v: 1, id: 7, prefixes: ['10.1.0.0/16'] } as GatewayRecord,
  origin: {
    v: 1,
    id: 'o1',
    address: '198.51.100.1',
    services: ['web'],
    release: 'synchronized',
    distancesMs: { r1: 12.5 },
  } as OriginRecord,
  proximity: {
    v: 1,
    id: 9,
    site: 'zurich',
    entries: [{ service: 'web', candidate: 'r1', rttUs: 20_000, variationUs: 500 }],
  } as ProximityRecord,
};
type Kind = keyof typeof RECORDS;
const KIND: Record<Kind, RecordKind> = {
  service: serviceKind,
  replica: replicaKind,
  gateway: gatewayKind,
  origin: originKind,
  proximity: proximityKind,
};
const KINDS = Object.keys(RECORDS) as Kind[];
const fits = (kind: Kind, value: unknown): boolean =>
  validate(structuredClone(value), KIND[kind].schemaOf(value), () => '').length === 0;

describe('records', () => {
  it.each(KINDS)('of a %s fit their schema', (kind) => {
    expect(fits(kind, RECORDS[kind])).toBe(true);
  });

  it.each(KINDS)(
    'of a %s are refused with an extra key, a missing key, another version, or as no object',
    (kind) => {
      expect(fits(kind, { ...RECORDS[kind], extra: 1 })).toBe(false);
      expect(fits(kind, { ...RECORDS[kind], v: 2 })).toBe(false);
      for (const bad of [null, 1, 'x', [], [RECORDS[kind]], {}]) expect(fits(kind, bad)).toBe(false);
      const required = KIND[kind].schemaOf(RECORDS[kind]).required as string[];
      for (const key of required) {
        const { [key as never]: _, ...rest } = RECORDS[kind] as object;
        expect(fits(kind, rest), key).toBe(false);
      }
    },
  );

  it.each<[Kind, string, unknown]>([
    ['service', 'address', '203.0.113.10; drop table'],
    ['service', 'address', '203.0.113.10/24'],
    ['service', 'address', '::1'],
    ['service', 'ports', []],
    ['service', 'ports', [0]],
    ['service', 'ports', [65536]],
    ['service', 'ports', ['80']],
    ['service', 'ports', [80, 80]],
    ['service', 'name', 'We b'],
    ['service', 'name', '__proto__'],
    ['service', 'name', 'a'.repeat(41)],
    ['service', 'configuration', 'D'],
    ['service', 'replicable', 1],
    ['service', 'raceWindowMs', -1],
    ['service', 'raceWindowMs', 1e9],
    ['service', 'raceWindowMs', Number.NaN],
    ['replica', 'address', '198.51.100.11 accept'],
    ['replica', 'services', []],
    ['replica', 'services', [{ name: 'web', port: 70000 }]],
    ['replica', 'services', [{ name: 'web', address: '1.2.3.4' }]],
    ['replica', 'state', 'winner'],
    ['replica', 'load', 'low'],
    ['replica', 'load', -1],
    ['replica', 'id', '../x'],
    ['replica', 'clock', 'sundial'],
    ['gateway', 'id', 65536],
    ['gateway', 'id', -1],
    ['gateway', 'id', 1.5],
    ['gateway', 'prefixes', []],
    ['gateway', 'prefixes', ['0.0.0.0']],
    ['gateway', 'prefixes', ['10.0.0.0/33']],
    ['origin', 'release', 'whenever'],
    ['origin', 'distancesMs', { r1: -1 }],
    ['origin', 'distancesMs', { r1: '5' }],
    ['origin', 'services', [5]],
    ['proximity', 'id', 65536],
    ['proximity', 'site', 'Zürich'],
    ['proximity', 'entries', [{ service: 'web', candidate: 'r1', rttUs: -1, variationUs: 0 }]],
    ['proximity', 'entries', [{ service: 'web', candidate: '../x', rttUs: 1, variationUs: 0 }]],
    ['proximity', 'entries', [{ service: 'web', candidate: 'r1', rttUs: 1 }]],
  ])('of a %s with a forged %s are refused: %j', (kind, key, value) => {
    expect(fits(kind, { ...RECORDS[kind], [key]: value })).toBe(false);
  });

  it('have ids inside their kind', () => {
    expect(KINDS.map((kind) => KIND[kind].idOf(RECORDS[kind]))).toEqual(['web', 'r1', '7', 'o1', '9']);
  });
});

describe('the record of a service', () => {
  const second = serviceRecordOf(web);

  it('is read in its first form, and in its second', () => {
    expect(serviceKind.upgrade!(structuredClone(RECORDS.service))).toEqual(second);
    expect(fits('service', second)).toBe(true);
    expect(serviceKind.upgrade!(second)).toBe(second);
    expect(raceServices(raceView({ services: [web] }))).toEqual([web]);
  });

  it('of the race is written in the first form, which roles of the last version read', () => {
    expect(serviceKind.write!(second)).toEqual(RECORDS.service);
    const echo = { ...second, program: 'echo', protocol: 'udp' as const, race: undefined };
    expect(serviceKind.write!(echo)).toBe(echo);
  });

  it("is refused where a program's part does not match that program's schema", () => {
    expect(fits('service', { ...second, race: { ...web, configuration: 'D' } })).toBe(false);
    expect(fits('service', { ...second, race: undefined })).toBe(false);
    expect(fits('service', { ...second, extra: 1 })).toBe(false);
    expect(fits('service', { ...second, protocol: 'sctp' })).toBe(false);
  });

  it('of another program keeps its address, and is not raced', () => {
    const echo = { v: 2, name: 'e', address: '203.0.113.20', ports: [7], protocol: 'udp', program: 'echo' };
    expect(fits('service', { ...echo, echo: { anything: 1 } })).toBe(true);
    expect(fits('service', { ...echo, address: 'x' })).toBe(false);
  });

  it.each([
    '127.0.0.1',
    '0.0.0.0',
    '169.254.1.1',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    'fe80::1',
    'ff02::1',
  ])('is refused at %s, which no other host reaches', (address) => {
    expect(fits('service', { ...RECORDS.service, address })).toBe(false);
    expect(fits('service', { ...second, address })).toBe(false);
  });

  it('is taken at addresses beside those', () => {
    for (const address of ['126.255.255.255', '128.0.0.1', '223.255.255.255', '2001:db8::1', 'fec0::1'])
      expect(fits('service', { ...second, address }), address).toBe(true);
  });

  it('gets its defaults', () => {
    const given = { name: 'web', address: '1.2.3.4', ports: [80], configuration: 'C' };
    expect(validate(given, serviceKind.schemaOf(given), () => '')).toEqual([]);
    expect(given).toEqual({
      v: 1,
      name: 'web',
      address: '1.2.3.4',
      ports: [80],
      configuration: 'C',
      replicable: true,
      raceWindowMs: 500,
    });
  });
});

describe("a replica's address and port", () => {
  const view = (configuration: 'A' | 'B' | 'C', ...replicas: ReplicaRecord[]): View =>
    raceView({
      services: [
        service('web', '203.0.113.10', configuration),
        service('api', '203.0.113.11', configuration),
      ],
      replicas,
    });
  const other = replica('r1', '198.51.100.11', ['web']);

  it.each(['A', 'B'] as const)('belong to one service in configuration %s', (c) => {
    expect(endpointConflict(view(c, other), replica('r2', '198.51.100.11', ['api']))).toBe(
      '198.51.100.11:80 for service api is already taken by web (replica r1)',
    );
    expect(endpointConflict(view(c), replica('r1', '198.51.100.11', ['web'], ['api']))).toBe(
      '198.51.100.11:80 for service api is already taken by web',
    );
    expect(endpointConflict(view(c, other), replica('r2', '198.51.100.11', ['api', 8081]))).toBeUndefined();
    expect(endpointConflict(view(c, other), replica('r2', '198.51.100.12', ['api']))).toBeUndefined();
  });

  it('are gone through again only where a record claims something else', () => {
    const before = ownersIn(view('A', other));
    expect(ownersIn(view('A', { ...other, load: 0.5, state: 'busy' }))).toBe(before);
    const moved = view('A', { ...other, address: '198.51.100.12' });
    expect([...ownersIn(moved).keys()]).toEqual(['198.51.100.12:80']);
    expect(endpointConflict(view('A', other), replica('r2', '198.51.100.11', ['api']))).toBeDefined();
    expect(endpointConflict(moved, replica('r2', '198.51.100.11', ['api']))).toBeUndefined();
    expect(ownersIn(view('C', other)).size).toBe(0);
  });

  it('do not conflict with the record that they replace', () => {
    expect(endpointConflict(view('A', other), replica('r1', '198.51.100.11', ['api']))).toBeUndefined();
  });

  it('may be shared in configuration C, and by services that are not published', () => {
    expect(
      endpointConflict(view('C', other), replica('r2', '198.51.100.11', ['web'], ['api'])),
    ).toBeUndefined();
    expect(endpointConflict(view('A', other), replica('r2', '198.51.100.11', ['unknown']))).toBeUndefined();
  });

  it("are the service's own port by default", () => {
    expect(replicaPort({ name: 'web' }, 443)).toBe(443);
    expect(replicaPort({ name: 'web', port: 8443 }, 443)).toBe(8443);
  });
});
