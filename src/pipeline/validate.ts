/**
 * The stage that checks bounds, once: after it, an undecided packet is a whole, unfragmented IPv4 packet
 * that lies in its slot, and where `protocol` says TCP its header lies in it too.
 */
import * as ipv4 from '../wire/ipv4.js';
import * as tcp from '../wire/tcp.js';
import * as virtio from '../wire/virtio.js';
import { type Batch, OPEN } from './batch.js';
import { common } from './reasons.js';

export function validate(batch: Batch): void {
  const { view, at, length, l4, protocol, tcpFlags } = batch;
  for (let i = 0; i < batch.count; i++) {
    if (batch.verdict[i] !== OPEN) continue;
    const p = at[i];
    if (ipv4.version(view, p) !== 4) {
      batch.pass(i, common.passNotIpv4);
      continue;
    }
    if (!ipv4.checkLength(view, p, length[i])) {
      batch.drop(i, common.dropMalformed);
      continue;
    }
    const total = ipv4.totalLength(view, p);
    length[i] = total;
    if (!virtio.isSound(view, p, total)) {
      batch.drop(i, common.dropMalformed);
      continue;
    }
    if (ipv4.isFragment(view, p)) {
      batch.pass(i, common.passFragment);
      continue;
    }
    const header = ipv4.headerLength(view, p);
    const proto = ipv4.protocol(view, p);
    protocol[i] = proto;
    l4[i] = p + header;
    if (proto === ipv4.PROTO_TCP) {
      const misplaced = virtio.needsCsum(view, p) && !virtio.isTcpChecksum(view, p, header);
      if (misplaced || !tcp.checkLength(view, p + header, total - header)) {
        batch.drop(i, common.dropMalformed);
        continue;
      }
      tcpFlags[i] = tcp.flags(view, p + header);
    } else tcpFlags[i] = 0;
  }
}

/** The kinds of inner packet that an IP-in-IP packet can hold. */
export const INNER_TCP = 1;
export const INNER_MALFORMED = 0;
export const INNER_OTHER = -1;

/**
 * What stands inside an IP-in-IP packet that {@link validate} let through: a whole, unfragmented TCP
 * packet ({@link INNER_TCP}), something else ({@link INNER_OTHER}: nested tunnels too, nesting is one
 * deep), or nothing that can be read ({@link INNER_MALFORMED}).
 */
export function inspectInner(view: DataView, at: number, l4: number): number {
  const room = at + ipv4.totalLength(view, at) - l4;
  if (!ipv4.checkLength(view, l4, room)) return INNER_MALFORMED;
  if (ipv4.protocol(view, l4) !== ipv4.PROTO_TCP || ipv4.isFragment(view, l4)) return INNER_OTHER;
  const header = ipv4.headerLength(view, l4);
  const segment = ipv4.totalLength(view, l4) - header;
  if (virtio.needsCsum(view, at) && !virtio.isTcpChecksum(view, at, l4 - at + header)) return INNER_MALFORMED;
  return tcp.checkLength(view, l4 + header, segment) ? INNER_TCP : INNER_MALFORMED;
}
