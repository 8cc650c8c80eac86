/**
 * The packet table, packets that are not the gateway's: the validating stage, and packets that belong to no service
 * or flow.
 * Numbers in brackets: operations of the source "Wide area load balancing of web traffic".
 */
import {
  asReplica,
  asService,
  CLIENT,
  fromClient,
  ISN1,
  icmpError,
  ip,
  linuxOptions,
  ORIGIN,
  R1,
  R2,
  raw,
  SERVICE,
  STRANGER,
  syn,
  withTcp,
} from '../support/builder.js';
import { encode, frame, type Packet } from '../support/naive.js';
import type { Configuration } from '../support/world.js';
import { answerOnWan, bytes, CONFIGURATIONS, type Row, resetOnWan, synAck } from './row.js';

const row = (configuration: Configuration, r: Omit<Row, 'role' | 'configuration'>): Row => ({
  role: 'gateway',
  configuration,
  ...r,
});

function foreign(c: Configuration): Row[] {
  const same = (name: string, p: Packet | Uint8Array, reason: string): Row =>
    row(c, { name, in: [p], out: [p], counts: { [reason]: 1 } });
  const bad = (name: string, p: Uint8Array): Row =>
    row(c, { name, in: [p], out: [], counts: { 'drop.malformed': 1 } });
  const whole = encode(fromClient('A'));
  const patched = (at: number, ...values: number[]): Uint8Array => {
    const b = [...whole];
    b.splice(at, values.length, ...values);
    return bytes(...b);
  };
  const unsound = frame(fromClient('A'));
  unsound.set([1, 0, 0, 0, 0, 0, 60, 0, 16, 0]);
  const misplaced = frame(fromClient('A'));
  misplaced.set([1, 0, 0, 0, 0, 0, 20, 0, 14, 0]);
  const endless = frame(fromClient('A'));
  endless[1] = 1;
  // No header follows (59); from :: to ::.
  const low = bytes(0x60, 0, 0, 0, 0, 0, 59, 64, ...new Array<number>(32).fill(0));
  return [
    same('IPv6 with an IPv4 address inside passes', low, 'pass.not-ipv4'),
    same(
      'IPv6 without a transport header passes',
      bytes(0x60, ...new Array<number>(39).fill(0)),
      'pass.not-tcp',
    ),
    same('UDP passes', ip(CLIENT, SERVICE, raw(17, [0, 80, 0, 80, 0, 8, 0, 0])), 'pass.not-tcp'),
    same('an echo request passes', icmpError(CLIENT, ORIGIN, 8, 0, [1, 2, 3, 4]), 'pass.not-tcp'),
    same('TCP to another address passes', { ...fromClient('A'), dst: STRANGER }, 'pass.not-ours'),
    same('TCP to another port passes', withTcp(fromClient('A'), { dport: 81 }), 'pass.not-ours'),
    same('a SYN to another port is not tagged', withTcp(syn(), { dport: 443 }), 'pass.not-ours'),
    same('a packet of an unknown flow passes [616]', fromClient('A', { ack: ISN1 }), 'pass.no-flow'),
    row(c, {
      name: 'bytes behind the packet are removed',
      in: [bytes(...whole, 0xde, 0xad)],
      out: [fromClient('A')],
      counts: { 'pass.no-flow': 1 },
    }),
    bad('an empty packet', bytes(0x45)),
    bad('a truncated header', bytes(...whole.slice(0, 19))),
    bad('a header length below 5', patched(0, 0x44)),
    bad('a header longer than the packet', patched(0, 0x4f, 0, 0, 40)),
    bad('a total length beyond the packet', patched(2, 0, 41)),
    bad('a total length below the header', patched(2, 0, 19)),
    bad('a data offset below 5', patched(32, 0x40)),
    bad('a data offset beyond the packet', patched(32, 0x60)),
    bad('an open checksum whose field lies beyond the packet', unsound),
    bad('an open checksum whose field is not that of the TCP header', misplaced),
    bad('a super-packet with a complete checksum', endless),
    row(c, {
      name: "a replica's data without a flow passes, because it may belong to another connection of the replica",
      in: [asReplica(R1, asService('A'))],
      out: [asReplica(R1, asService('A'))],
      counts: { [c === 'C' ? 'pass.not-ours' : 'pass.no-flow']: 1 },
    }),
    row(c, {
      name: 'a SYN-ACK without an MSS option loses like any other',
      given: [[syn({ options: linuxOptions() })], [synAck()]],
      in: [answerOnWan(c, R2, asService('SA'))],
      out: [resetOnWan(c, R2)],
      counts: { 'drop.loser': 1, 'emit.loser-reset': 1 },
    }),
  ];
}

export const gatewayForeign: Row[] = CONFIGURATIONS.flatMap(foreign);
