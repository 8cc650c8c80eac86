/** The data half: sends a datagram for the address and port back to its sender. */
import { AddressMap } from '../flow/address-map.js';
import type { Stage } from '../pipeline/batch.js';
import { OPEN } from '../pipeline/batch.js';
import type { Pipeline, PipelineContext } from '../pipeline/pipeline.js';
import { defineReasons } from '../pipeline/reasons.js';
import { dnatV4, snatV4 } from '../pipeline/translate.js';
import { validate } from '../pipeline/validate.js';
import type { Address } from '../wire/address.js';
import { PROTO_UDP } from '../wire/ipv4.js';

const reasons = defineReasons({ passEchoed: 'pass.echoed' });

export function createPipeline(
  _context: PipelineContext<object>,
): Pipeline<{ address: Address; port: number }> {
  const own = new AddressMap();
  const turnRound: Stage = (batch) => {
    for (let i = 0; i < batch.count; i++) {
      if (batch.verdict[i] !== OPEN || own.ofDestination(batch, i) < 0) continue;
      const [from, port] = [batch.saddrV4(i), batch.sport[i]];
      snatV4(batch, i, batch.daddrV4(i), batch.dport[i]);
      dnatV4(batch, i, from, port);
      batch.pass(i, reasons.passEchoed);
    }
  };
  return {
    reasons: reasons.names,
    gauges: [],
    load: (s) => own.load([{ ...s, protocol: PROTO_UDP, value: 0 }]),
    tick: () => {},
    stages: [validate, turnRound],
  };
}
