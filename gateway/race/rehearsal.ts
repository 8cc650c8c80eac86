/** Runs every kind of race in every configuration before the first client's packet. */
import type { CandidateNumber, MachineNumber, ServiceNumber } from '../../src/flow/numbers.js';
import type { CreatePipeline } from '../../src/pipeline/pipeline.js';
import { CLIENT, PORT, REHEARSED, REPLICA, Rehearsal, SERVICE } from '../../src/pipeline/rehearsal.js';
import { ORIGIN, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { fromV4 } from '../../src/wire/address.js';
import * as tcp from '../../src/wire/tcp.js';
import { gatewayMemory } from './gauges.js';
import {
  type GatewayPipelineOptions,
  type GatewaySnapshot,
  RACE_LEARNED,
  RACE_ORIGIN,
  type Race,
  SPOOF,
  TRANSLATE,
  TUNNEL,
} from './state.js';

const MODES = [TRANSLATE, SPOOF, TUNNEL] as const;

export function rehearse(
  create: CreatePipeline<GatewayPipelineOptions, GatewaySnapshot>,
  options: GatewayPipelineOptions,
): void {
  const flows = { ...options.flows, max: 8 * REHEARSED };
  const r = new Rehearsal(create, { ...options, flows }, gatewayMemory(64, 64, 1));
  let port = 1024;
  for (const race of [RACE_ORIGIN, RACE_LEARNED] as const)
    for (const mode of MODES) {
      r.pipeline.load(snapshot(race, mode));
      for (let k = 0; k < REHEARSED; k++) connection(r, mode, port++);
      r.pipeline.tick();
    }
}

function connection(
  r: Rehearsal<GatewayPipelineOptions, GatewaySnapshot>,
  mode: (typeof MODES)[number],
  port: number,
): void {
  const isn = Math.imul(port, 0x01000193);
  r.segment(CLIENT, port, SERVICE, PORT, isn, 0, tcp.SYN);
  r.run();
  const answers = tcp.SYN | tcp.ACK;
  if (mode === TUNNEL) {
    r.tunnel(r.segment(SERVICE, PORT, CLIENT, port, 1, isn + 1, answers), REPLICA, CLIENT);
  } else {
    const ack = r.segment(REPLICA, PORT, CLIENT, port, 1, isn + 1, answers);
    if (mode === SPOOF) r.tunnel(ack, SERVICE, CLIENT);
  }
  r.segment(SERVICE, PORT, CLIENT, port, 7, isn + 1, answers);
  r.run();
  r.segment(CLIENT, port, SERVICE, PORT, isn + 1, 2, tcp.ACK);
  const data = mode === TRANSLATE ? REPLICA : SERVICE;
  const i = r.segment(data, PORT, CLIENT, port, 2, isn + 1, tcp.ACK | tcp.FIN);
  if (mode === TUNNEL) r.tunnel(i, REPLICA, CLIENT);
  r.segment(CLIENT, port, SERVICE, PORT, isn + 1, 3, tcp.ACK | tcp.FIN);
  r.run();
}

function snapshot(race: Race, mode: (typeof MODES)[number]): GatewaySnapshot {
  const address = fromV4(SERVICE);
  const service = 0 as ServiceNumber;
  return {
    seeds: [],
    race,
    services: [{ address, port: PORT, mode, raced: true, suspects: 0 }],
    endpoints: [
      {
        service,
        machine: ORIGIN_MACHINE,
        candidate: ORIGIN,
        address,
        port: PORT,
        live: true,
        load: 0,
        trials: 0,
      },
      {
        service,
        machine: 1 as MachineNumber,
        candidate: 1 as CandidateNumber,
        address: fromV4(REPLICA),
        port: PORT,
        live: true,
        load: 0,
        trials: 0,
      },
    ],
    tunnelMss: 1440,
    probed: [],
    probeSource: 0,
    wanMtu: 1500,
  };
}
