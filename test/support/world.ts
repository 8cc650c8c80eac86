/** The snapshots that control planes would load, for the small network of `builder.ts`. */
import type { GatewayPipelineOptions, GatewaySnapshot } from '../../gateway/race/state.js';
import type { OriginSnapshot } from '../../origin/race/state.js';
import type { ReplicaSnapshot } from '../../replica/race/state.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';
import type { KeyringGateway } from '../../src/race/keyring.js';
import { type Address, type Prefix, parse, parsePrefix } from '../../src/wire/address.js';
import {
  CLIENT,
  GATEWAY_ID,
  KEY_ID,
  MASTER,
  ORIGIN,
  PREFIX,
  REPLICAS,
  SERVICE,
  SERVICE_PORT,
} from './builder.js';
import { gatewayKey } from './naive.js';
import { candidateNumber, machineNumber, serviceNumber } from './numbers.js';

export type RoleName = 'gateway' | 'origin' | 'replica';
export type Configuration = 'A' | 'B' | 'C';

/** The properties that may differ from row to row. */
export interface World {
  configuration: Configuration;
  /** Whether the service has live replicas and a live origin. */
  raced: boolean;
  /** The port of the gateway's only service. */
  servicePort: number;
  /** Which replicas may still join races. */
  live: readonly boolean[];
  /** By candidate: how many machines have had the number before. */
  generations: readonly number[];
  /** Trials that were ordered for each replica. */
  trials: readonly number[];
  /** One bit for each candidate that some connections avoid. */
  suspects: number;
  /** The replicas' numbers as machines; as candidates they have the same, where a race can name it. */
  candidates: readonly number[];
  /** Which role sends the copies: 0 the origin, 1 the gateway, 2 the gateway by what it has learned. */
  race: 0 | 1 | 2;
  probed: GatewaySnapshot['probed'];
  /** How replicas are measured in the background; undefined for not at all. */
  near: GatewaySnapshot['near'];
  wanMtu: number;
  maxFlows: number;
  /** Release schedule: the delay of the server's SYN and of each copy, µs. */
  serverDelayUs: number;
  delaysUs: readonly number[];
  holdSlots: number;
  replicable: boolean;
  replicaState: 'up' | 'busy' | 'draining' | 'inactive';
  /** Whether the origin's server for every connection is the second replica. */
  remoteServer: boolean;
  /** By how much a replica delays its acknowledgement under load. */
  penaltyUs: number;
  /** SYNs that a replica accepts per second; 0 is no limit. */
  newPerSecond: number;
}

export const WORLD: World = {
  configuration: 'A',
  raced: true,
  servicePort: SERVICE_PORT,
  live: [true, true],
  generations: [0, 0, 0],
  trials: [0, 0],
  suspects: 0,
  candidates: [1, 2],
  race: 0,
  wanMtu: 1500,
  probed: [],
  near: undefined,
  maxFlows: 1024,
  serverDelayUs: 0,
  delaysUs: [0, 0],
  holdSlots: 64,
  replicable: true,
  replicaState: 'up',
  remoteServer: false,
  penaltyUs: 0,
  newPerSecond: 0,
};

export const TUNNEL_MSS = 1440;
const MODE = { A: 0, B: 1, C: 2 } as const;
const words = (text: string): Address => parse(text) as Address;

/** A key in the data plane's form: little-endian words. */
export function keyWords(bytes: number[]): number[] {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return [0, 4, 8, 12].map((at) => view.getInt32(at, true));
}

/** The clients' gateway, and another gateway with its own prefix. */
export const GATEWAYS: KeyringGateway[] = [
  [GATEWAY_ID, PREFIX] as const,
  [GATEWAY_ID + 1, '10.2.0.0/16'] as const,
].map(([id, prefix]) => ({
  id,
  prefixes: [parsePrefix(prefix) as Prefix],
  keys: [{ id: KEY_ID, words: keyWords(gatewayKey(MASTER, id)) }],
}));

const FLOWS = { openingTimeoutMs: 240_000, establishedTimeoutMs: 7_440_000, closingTimeoutMs: 240_000 };

export function gatewayOptions(w: World): GatewayPipelineOptions {
  return {
    flows: { max: w.maxFlows, ...FLOWS },
    openings: true,
    raceWidth: 6,
    gatewayId: GATEWAY_ID,
    keyId: KEY_ID,
    key: keyWords(gatewayKey(MASTER, GATEWAY_ID)),
  };
}
export const originOptions = (w: World) => ({ flows: { max: w.maxFlows }, seed: 7 });
export const replicaOptions = (w: World) => ({
  flows: { max: w.maxFlows, ...FLOWS },
  newPerSecond: w.newPerSecond,
});

export function gatewaySnapshot(w: World): GatewaySnapshot {
  return {
    seeds: [],
    race: w.race,
    services: [
      {
        address: words(SERVICE),
        port: w.servicePort,
        mode: MODE[w.configuration],
        raced: w.raced,
        suspects: w.suspects,
        holders: [...w.generations],
      },
    ],
    endpoints: [
      {
        service: serviceNumber(0),
        machine: machineNumber(0),
        candidate: candidateNumber(0),
        address: words(SERVICE),
        port: w.servicePort,
        live: true,
        load: 0,
        trials: 0,
      },
      ...REPLICAS.map((r, i) => ({
        service: serviceNumber(0),
        machine: machineNumber(w.candidates[i]),
        candidate: candidateNumber(w.candidates[i] < MOST_RACED ? w.candidates[i] : -1),
        address: words(r.address),
        port: r.port,
        live: w.live[i],
        load: 0,
        trials: w.trials[i],
      })),
    ],
    tunnelMss: TUNNEL_MSS,
    probed: w.probed,
    near: w.near,
    probeSource: words(CLIENT)[3],
    wanMtu: w.wanMtu,
  };
}

export function originSnapshot(w: World): OriginSnapshot {
  return {
    address: words(ORIGIN),
    gateways: GATEWAYS,
    services: [
      {
        address: words(SERVICE),
        port: SERVICE_PORT,
        replicable: w.replicable,
        serverDelayUs: w.serverDelayUs,
        spoofing: w.configuration === 'B' ? REPLICAS.map((r) => words(r.address)) : [],
        candidates: w.candidates.reduce((bits, c) => bits | (c < 32 ? 1 << c : 0), 1),
        copies: REPLICAS.map((r, i) => ({
          address: words(r.address),
          delayUs: w.delaysUs[i],
          candidate: candidateNumber(w.candidates[i]),
        })),
        ...(w.remoteServer
          ? {
              remote: {
                slots: new Int32Array(7),
                servers: [
                  { address: words(REPLICAS[1].address), candidate: candidateNumber(w.candidates[1]) },
                ],
              },
            }
          : {}),
      },
    ],
  };
}

/** The snapshot of the first replica. */
export function replicaSnapshot(w: World): ReplicaSnapshot {
  return {
    penaltyUs: w.penaltyUs,
    address: words(REPLICAS[0].address),
    gateways: GATEWAYS,
    state: w.replicaState,
    services: [
      {
        address: words(SERVICE),
        port: SERVICE_PORT,
        localPort: REPLICAS[0].port,
        mode: MODE[w.configuration],
      },
    ],
  };
}
