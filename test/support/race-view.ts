/** Views of the registry, from the records of the race. */
import { type ProximityRecord, proximityKind } from '../../src/proximity/record.js';
import {
  type GatewayRecord,
  gatewayKind,
  type OriginRecord,
  originKind,
  type RaceService,
  type ReplicaRecord,
  replicaKind,
  serviceRecordOf,
} from '../../src/race/records.js';
import { type RecordKind, View } from '../../src/registry/kinds.js';
import { serviceKind } from '../../src/registry/service.js';

export interface RaceRecords {
  services: readonly RaceService[];
  replicas: readonly ReplicaRecord[];
  gateways: readonly GatewayRecord[];
  /** Undefined where the registry has no origins (a file). */
  origins: readonly OriginRecord[] | undefined;
  proximities: readonly ProximityRecord[];
}

export function raceView(records: Partial<RaceRecords>): View {
  const { services = [], replicas = [], gateways = [], origins, proximities = [] } = records;
  const lists: [RecordKind, readonly unknown[]][] = [
    [serviceKind, services.map(serviceRecordOf)],
    [replicaKind, replicas],
    [gatewayKind, gateways],
    [proximityKind, proximities],
  ];
  if (origins !== undefined) lists.push([originKind, origins]);
  return View.of(...lists);
}
