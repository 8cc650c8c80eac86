/**
 * A flood of SYNs that no client confirms (`injector.ts`). Arguments: SERVICE PORT PREFIX SOURCES PER_SECOND SECONDS [STRAYS].
 * PREFIX is a /24 in which the sources are: `1` source, or `all` of its addresses in turn; or a /8, and sources are `random`.
 * PER_SECOND may be `max`: as fast as this process can. With STRAYS every other packet is not a SYN, but an acknowledgement of a
 * connection that never was. One line of JSON at the end: `{sent}`.
 */
import { parse } from '../../wire/address.js';
import { fold, pseudoHeader, sum } from '../../wire/checksum.js';
import * as ipv4 from '../../wire/ipv4.js';
import * as tcp from '../../wire/tcp.js';
import { Injector } from './injector.js';

const [service, port, prefix, sources, perSecond, seconds, strays] = process.argv.slice(2);
/** An address of the prefix that no other host of the laboratory has. */
const FIRST = 16;
const LAST = 254;
const EVERY_MS = 10;
const LENGTH = ipv4.MIN_HEADER + tcp.MIN_HEADER;
const PORTS = 64_000;

const to = parse(service)![3];
const network = parse(prefix)![3];
const hosts = sources === '1' ? 1 : LAST - FIRST;
const isMost = perSecond === 'max';
const MOST_BATCH = 512;
const batch = isMost ? MOST_BATCH : Math.round((Number(perSecond) * EVERY_MS) / 1000);
const injector = new Injector(batch);
const { view } = injector;
let sent = 0;

/** The low bits of a random source. */
const LOW = 0xff_ff_ff;
const mixed = (n: number): number => {
  const h = Math.imul(n ^ (n >>> 16), 0x7feb352d);
  return Math.imul(h ^ (h >>> 15), 0x846ca68b);
};

function write(i: number): void {
  const from = sources === 'random' ? network | (mixed(sent) & LOW) : (network + FIRST + (sent % hosts)) | 0;
  const sport = 1024 + (Math.floor(sent / hosts) % PORTS);
  const isStray = strays !== undefined && sent % 2 === 1;
  const at = injector.placeOf(i);
  const l4 = at + ipv4.MIN_HEADER;
  ipv4.write(view, at, 0, LENGTH, 0, true, 64, ipv4.PROTO_TCP, from, to);
  tcp.write(
    view,
    l4,
    sport,
    Number(port),
    Math.imul(sent, 0x9e3779b1),
    isStray ? 1 : 0,
    isStray ? tcp.ACK : tcp.SYN,
  );
  const pseudo = pseudoHeader(from, to, ipv4.PROTO_TCP, tcp.MIN_HEADER);
  tcp.setCheck(view, l4, ~fold(sum(view, l4, tcp.MIN_HEADER, pseudo)) & 0xffff);
  sent++;
}

const begin = performance.now();
let due = 0;
const elapsed = (): number => performance.now() - begin;

function sendBatch(): void {
  for (let i = 0; i < batch; i++) write(i);
  injector.send(batch, (i) => injector.placeOf(i));
}

function finish(): void {
  injector.release();
  process.stdout.write(`${JSON.stringify({ sent })}\n`, () => process.exit(0));
}

if (isMost) {
  while (elapsed() < Number(seconds) * 1000) sendBatch();
  finish();
} else {
  const timer = setInterval(() => {
    const now = elapsed();
    if (now >= Number(seconds) * 1000) {
      clearInterval(timer);
      return finish();
    }
    // A late timer makes up for what it missed, a few batches at most.
    due = Math.max(due, now - 5 * EVERY_MS);
    for (; due <= now; due += EVERY_MS) sendBatch();
  }, EVERY_MS / 2);
}
