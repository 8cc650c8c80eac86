/** The fleet that `firstack bench registry` simulates: its records, and the changes per second. */
import {
  type GatewayRecord,
  type OriginRecord,
  type ReplicaRecord,
  serviceRecordOf,
} from '../../race/records.js';
import type { ServiceRecord } from '../../registry/service.js';

export interface FleetSize {
  replicas: number;
  gateways: number;
}

/** Typical sizes: a service has ten replicas, an origin 250 services. */
export const REPLICAS_PER_SERVICE = 10;
const SERVICES_PER_ORIGIN = 250;
/**
 * Shares of all replicas, each second: those that change between up and busy, and those whose load changes by a step.
 */
export const STATE_CHANGES = 0.001;
export const LOAD_CHANGES = 0.01;
/** Replicas that die when the measurement begins; light roles, so that they can die without a message. */
export const SILENT = 5;

export const servicesOf = (size: FleetSize): number =>
  Math.max(1, Math.ceil(size.replicas / REPLICAS_PER_SERVICE));
export const originsOf = (size: FleetSize): number => Math.ceil(servicesOf(size) / SERVICES_PER_ORIGIN);

const address = (a: number, n: number): string => `10.${a + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;

export function serviceRecord(n: number): ServiceRecord {
  return serviceRecordOf({
    ...{ name: `service-${n}`, address: address(8, n), ports: [443], configuration: 'A' },
    ...{ replicable: true, raceWindowMs: 500 },
  });
}

export function replicaRecord(n: number, connections: number, busy = false, load = 0.3): ReplicaRecord {
  return {
    ...{ v: 1, id: `replica-${n}`, address: address(16, n), connections, load, clock: 'free' },
    services: [{ name: `service-${Math.floor(n / REPLICAS_PER_SERVICE)}`, port: 8443 }],
    ...(busy
      ? { state: 'busy', reason: `${connections} connections, the limit is 10000` }
      : { state: 'up', reason: '' }),
  };
}

export function gatewayRecord(n: number): GatewayRecord {
  return { v: 1, id: n, prefixes: [`${address(64, n << 4)}/28`, `${address(80, n << 4)}/28`] };
}

/** Distances as published by an origin that has measured all of its replicas. */
export function originRecord(n: number, size: FleetSize): OriginRecord {
  const first = n * SERVICES_PER_ORIGIN;
  const services = Array.from(
    { length: Math.min(SERVICES_PER_ORIGIN, servicesOf(size) - first) },
    (_, i) => first + i,
  );
  const distances = services.flatMap((s) =>
    Array.from({ length: REPLICAS_PER_SERVICE }, (_, i) => [
      `replica-${s * REPLICAS_PER_SERVICE + i}`,
      20 + i * 7.125,
    ]),
  );
  return {
    ...{ v: 1, id: `origin-${n}`, address: address(4, n), release: 'synchronized' },
    services: services.map((s) => `service-${s}`),
    distancesMs: Object.fromEntries(distances),
  };
}

export const servicesOfOrigin = (n: number, size: FleetSize): ServiceRecord[] =>
  originRecord(n, size).services.map((name) => serviceRecord(Number(name.slice('service-'.length))));
