/**
 * A flood of SYNs that no client confirms, from the network namespace in which this process is started, as if they came from
 * hosts behind it. Arguments: SERVICE PORT PREFIX SOURCES PER_SECOND SECONDS, where PREFIX is a /24 in which the sources
 * are: 1 source, or all of its addresses in turn. One line of JSON at the end: `{sent}`.
 */
import { execFileSync } from 'node:child_process';
import { VNET_HEADER } from '../../device/device.js';
import { Tun } from '../../device/tun.js';
import { writeSysctl } from '../../steer/tools.js';
import { parse } from '../../wire/address.js';
import { fold, pseudoHeader, sum } from '../../wire/checksum.js';
import * as ipv4 from '../../wire/ipv4.js';
import * as tcp from '../../wire/tcp.js';

const [service, port, prefix, sources, perSecond, seconds] = process.argv.slice(2);
const NAME = 'flood0';
/** An address of the prefix that no other host of the laboratory has. */
const FIRST = 16;
const LAST = 254;
const EVERY_MS = 10;
const SLOT = 64;
const LENGTH = ipv4.MIN_HEADER + tcp.MIN_HEADER;

const tun = new Tun(NAME);
tun.isUp = true;
execFileSync('ip', ['address', 'add', '192.0.0.9/32', 'dev', NAME]);
for (const key of [`net.ipv4.conf.${NAME}.accept_local`, 'net.ipv4.ip_forward']) writeSysctl(key, '1');
for (const key of [`net.ipv4.conf.${NAME}.rp_filter`, 'net.ipv4.conf.all.rp_filter']) writeSysctl(key, '0');

const to = parse(service)![3];
const network = parse(prefix)![3];
const batch = Math.round((Number(perSecond) * EVERY_MS) / 1000);
const arena = new Uint8Array(batch * SLOT);
const view = new DataView(arena.buffer);
const at = Int32Array.from({ length: batch }, (_, i) => i * SLOT + VNET_HEADER);
const lengths = new Int32Array(batch).fill(LENGTH);
let sent = 0;

function write(i: number): void {
  const host = sources === '1' ? FIRST : FIRST + (sent % (LAST - FIRST));
  const from = (network + host) | 0;
  const sport = 1024 + (Math.floor(sent / (LAST - FIRST)) % 64_000);
  const ip = at[i];
  const l4 = ip + ipv4.MIN_HEADER;
  ipv4.write(view, ip, 0, LENGTH, 0, true, 64, ipv4.PROTO_TCP, from, to);
  tcp.write(
    view,
    l4,
    sources === '1' ? 1024 + (sent % 64_000) : sport,
    Number(port),
    Math.imul(sent, 0x9e3779b1),
    0,
    tcp.SYN,
  );
  const pseudo = pseudoHeader(from, to, ipv4.PROTO_TCP, tcp.MIN_HEADER);
  tcp.setCheck(view, l4, ~fold(sum(view, l4, tcp.MIN_HEADER, pseudo)) & 0xffff);
  sent++;
}

const begin = performance.now();
let due = 0;
const timer = setInterval(() => {
  const now = performance.now() - begin;
  if (now >= Number(seconds) * 1000) {
    clearInterval(timer);
    tun.release();
    process.stdout.write(`${JSON.stringify({ sent })}\n`, () => process.exit(0));
    return;
  }
  // A late timer makes up for what it missed, a few batches at most.
  due = Math.max(due, now - 5 * EVERY_MS);
  for (; due <= now; due += EVERY_MS) {
    for (let i = 0; i < batch; i++) write(i);
    tun.writeBatch(arena, at, lengths, batch);
  }
}, EVERY_MS / 2);
