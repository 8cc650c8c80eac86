/** Runs SYNs, answers and data in every configuration before the first client's packet. */
import type { CreatePipeline } from '../../src/pipeline/pipeline.js';
import { CLIENT, PORT, REHEARSED, REPLICA, Rehearsal, SERVICE } from '../../src/pipeline/rehearsal.js';
import { fromV4 } from '../../src/wire/address.js';
import * as tcp from '../../src/wire/tcp.js';
import { type ReplicaPipelineOptions, type ReplicaSnapshot, SPOOF, TRANSLATE, TUNNEL } from './state.js';

const MODES = [TRANSLATE, SPOOF, TUNNEL] as const;
const KEY = Int32Array.of(1, 2, 3, 4);
const GATEWAY = 1;
const ORIGIN = 0xc6336401 | 0;

export function rehearse(
  create: CreatePipeline<ReplicaPipelineOptions, ReplicaSnapshot>,
  options: ReplicaPipelineOptions,
): void {
  const r = new Rehearsal(create, { ...options, flows: { ...options.flows, max: 4 * REHEARSED } });
  let port = 1024;
  for (const mode of MODES) {
    r.pipeline.load(snapshot(mode));
    for (let k = 0; k < REHEARSED; k++) connection(r, mode, port++);
    r.pipeline.tick();
  }
}

function connection(
  r: Rehearsal<ReplicaPipelineOptions, ReplicaSnapshot>,
  mode: (typeof MODES)[number],
  port: number,
): void {
  const isn = Math.imul(port, 0x01000193);
  const syn = r.segment(CLIENT, port, SERVICE, PORT, isn, 0, tcp.SYN);
  r.tag(syn, KEY, 1, GATEWAY);
  r.tunnel(syn, ORIGIN, REPLICA);
  r.run();
  if (mode === TRANSLATE) return;
  r.segment(SERVICE, PORT, CLIENT, port, 1, isn + 1, tcp.SYN | tcp.ACK);
  r.run();
  const way = mode === TUNNEL ? SERVICE : REPLICA;
  const data = r.segment(CLIENT, port, way, PORT, isn + 1, 2, tcp.ACK);
  if (mode === TUNNEL) r.tunnel(data, CLIENT, REPLICA);
  r.segment(SERVICE, PORT, CLIENT, port, 2, isn + 1, tcp.ACK | tcp.FIN);
  r.run();
}

function snapshot(mode: (typeof MODES)[number]): ReplicaSnapshot {
  return {
    address: fromV4(REPLICA),
    services: [{ address: fromV4(SERVICE), port: PORT, localPort: PORT, mode }],
    gateways: [
      {
        id: GATEWAY,
        prefixes: [{ address: fromV4(CLIENT), bits: 128 }],
        keys: [{ id: 1, words: [...KEY] }],
      },
    ],
    state: 'up',
    penaltyUs: 0,
  };
}
