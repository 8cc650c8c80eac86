/** Runs the copying of SYNs before the first client's packet. */
import type { CandidateNumber } from '../../src/flow/numbers.js';
import type { CreatePipeline } from '../../src/pipeline/pipeline.js';
import { CLIENT, PORT, REHEARSED, REPLICA, Rehearsal, SERVICE } from '../../src/pipeline/rehearsal.js';
import { ringBytes } from '../../src/race/record-layout.js';
import { fromV4 } from '../../src/wire/address.js';
import * as tcp from '../../src/wire/tcp.js';
import type { OriginPipelineOptions, OriginSnapshot } from './state.js';

const KEY = [1, 2, 3, 4];
const GATEWAY = 1;

export function rehearse(
  create: CreatePipeline<OriginPipelineOptions, OriginSnapshot>,
  options: OriginPipelineOptions,
): void {
  const r = new Rehearsal(create, { ...options, flows: { max: 4 * REHEARSED } }, { races: ringBytes(64) });
  const client = fromV4(CLIENT);
  for (const delayUs of [0, 1000]) {
    r.pipeline.load({
      address: fromV4(SERVICE),
      services: [
        {
          address: fromV4(SERVICE),
          port: PORT,
          replicable: true,
          serverDelayUs: delayUs,
          copies: [1, 2, 3].map((candidate) => ({
            address: fromV4(REPLICA + candidate),
            delayUs,
            candidate: candidate as CandidateNumber,
          })),
          spoofing: [],
          candidates: 15,
        },
      ],
      gateways: [{ id: GATEWAY, prefixes: [{ address: client, bits: 128 }], keys: [{ id: 1, words: KEY }] }],
    });
    for (let k = 0; k < REHEARSED; k++) {
      const isn = Math.imul(k + delayUs, 0x01000193);
      const syn = r.segment(CLIENT, 1024 + delayUs + k, SERVICE, PORT, isn, 0, tcp.SYN);
      r.tag(syn, Int32Array.from(KEY), 1, GATEWAY);
      r.run();
    }
    r.pipeline.tick();
  }
}
