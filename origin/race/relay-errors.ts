/**
 * Configuration B: a replica's packets have the service's source, so ICMP errors about them come to the origin. It
 * sends each, encapsulated, to every replica of the service, `[O→R][router→S]`; the one that has the flow delivers it.
 * The origin's own server gets it too. Rate-limited, because one message becomes several.
 *
 * reads: verdict, protocol, the addresses. Sets: verdict; emits copies.
 */
import { type Batch, EXTRA_SLOT, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { isWholeMessage, Quotation } from '../../src/pipeline/quotation.js';
import { intoTunnel } from '../../src/pipeline/tunnel.js';
import * as ipip from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { reasons } from './reasons.js';
import type { OriginState } from './state.js';

export function relayErrors(state: OriginState): Stage {
  const quoted = new Quotation();
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && batch.protocol[i] === ipv4.PROTO_ICMP) relay(state, batch, i, quoted);
  };
}

function relay(state: OriginState, batch: Batch, i: number, q: Quotation): void {
  if (!q.read(batch, i)) return batch.pass(i, reasons.passNotTcp);
  const service = q.protocol === ipv4.PROTO_TCP ? state.services.getV4(q.saddr, q.sport) : -1;
  if (service < 0 || q.saddr !== batch.daddrV4(i) || !state.keyring.isClient(q.daddr))
    return batch.pass(i, reasons.passIcmp);
  const { spoofing } = state.plans[service];
  if (spoofing.length === 0 || batch.length[i] > EXTRA_SLOT - ipip.OVERHEAD || !isWholeMessage(batch, i))
    return batch.pass(i, reasons.passIcmp);
  if (state.relayed <= 0) {
    batch.counters[reasons.limitIcmp]++;
    return batch.pass(i, reasons.passIcmp);
  }
  state.relayed--;
  for (let r = 0; r < spoofing.length; r++) {
    const k = batch.emitCopy(i, reasons.emitIcmp);
    intoTunnel(batch, k, state.tunnelIds, state.address, spoofing[r][3]);
  }
  batch.pass(i, reasons.passIcmp);
}
