/**
 * Opens tunnels of the routers above for this server's virtual hosts; other tunnels stay as they are.
 *
 * reads: verdict, protocol, the outer source. Sets: all columns that `validate` sets, to the inner packet's; verdict.
 */
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import {
  INNER_MALFORMED,
  INNER_WHOLE,
  innerProtocol,
  isTunnel,
  lookInside,
  outOfTunnel,
} from '../../src/pipeline/tunnel.js';
import * as icmpv6 from '../../src/wire/icmpv6.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import type { ServerTables } from './pipeline.js';
import { reasons } from './reasons.js';

export function openTunnels(tables: ServerTables): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (batch.verdict[i] === OPEN && isTunnel(batch, i)) open(tables, batch, i);
  };
}

/** ICMP: errors about what the local server sent. */
const CARRIED: readonly number[] = [ipv4.PROTO_TCP, ipv4.PROTO_UDP, ipv4.PROTO_ICMP];
const CARRIED6: readonly number[] = [ipv4.PROTO_TCP, ipv4.PROTO_UDP, icmpv6.PROTO];

function open({ hosts, routers }: ServerTables, batch: Batch, i: number): void {
  if (routers.find(batch.saddr, 4 * i) < 0) return batch.pass(i, reasons.passTunnelNotOurs);
  const inner = innerProtocol(batch, i);
  if (inner < 0) return batch.drop(i, reasons.dropMalformed);
  const carried = batch.family[i] === 4 ? CARRIED : CARRIED6;
  const kind = lookInside(batch, i, carried.includes(inner) ? inner : ipv4.PROTO_TCP);
  if (kind === INNER_MALFORMED) return batch.drop(i, reasons.dropMalformed);
  if (kind !== INNER_WHOLE) return batch.drop(i, reasons.dropTunnelInner);
  if (hosts.find(batch.daddr, 4 * i) < 0) return batch.pass(i, reasons.passTunnelNotOurs);
  if (outOfTunnel(batch, i)) batch.pass(i, reasons.passOpened);
}
