/**
 * Packets of one kind (`injector.ts`). Arguments: KIND FROM TO VIA COUNT PER_SECOND [KEY_FILE]. Without a gateway's key file tags
 * and probes are forged: they have random keys. One line of JSON at the end: `{sent, bytes}`.
 *
 *   tunnel   [FROM→TO][VIA→203.0.113.10 SYN with a tag]
 *   tagged   VIA→TO, SYN with a tag
 *   probe    FROM→TO, UDP 7417, a path probe that asks for a large answer
 *   echo     the same, which asks for an answer of its own size
 *   syn-ack  FROM→TO, from port 80
 *   syn      FROM→TO, to port 80, of a new port each
 *   repeated the same, each ten times in a row
 */
import { readKeyFile } from '../../keys.js';
import { parse } from '../../wire/address.js';
import { fold, pseudoHeader, sum } from '../../wire/checksum.js';
import * as ipip from '../../wire/ipip.js';
import * as ipv4 from '../../wire/ipv4.js';
import * as probe from '../../wire/path-probe.js';
import { keyFromBytes, type SipKey } from '../../wire/siphash.js';
import * as tag from '../../wire/tag.js';
import * as tcp from '../../wire/tcp.js';
import { Injector } from './injector.js';

const [kind, from, to, via, count, perSecond, keyFile] = process.argv.slice(2);
const EVERY_MS = 10;
const SERVICE = '203.0.113.10';
const REPEATED = 10;
/** An MSS option, three NOPs and an EOL, behind which a tag may stand. */
const OPTIONS = [2, 4, 5, 0xb4, 1, 1, 1, 0];

const word = (text: string): number => parse(text)![3];
const random = (): number => Math.floor(Math.random() * 2 ** 32) | 0;
const batch = Math.max(1, Math.round((Number(perSecond) * EVERY_MS) / 1000));
const injector = new Injector(batch);
const { view } = injector;
const bytes = new Uint8Array(view.buffer);
const starts = new Int32Array(batch);
let sent = 0;
let sentBytes = 0;

const stolen = keyFile === undefined ? undefined : readKeyFile(keyFile, 'gateway');
const gatewayId = stolen?.gatewayId ?? 1;
const known = stolen && keyFromBytes(Buffer.from(stolen.keys[0].secret, 'hex'));

/** A key and its number: the stolen one, or one that is as good as any other guess. */
function keyOf(n: number): [key: SipKey, id: number] {
  if (stolen !== undefined) return [known!, stolen.keys[0].id];
  return [Int32Array.of(random(), random(), random(), random()), n & 15];
}

function segment(
  at: number,
  source: number,
  destination: number,
  ports: [number, number],
  flags: number,
): void {
  const options = flags === tcp.SYN ? OPTIONS.length : 0;
  const length = tcp.MIN_HEADER + options;
  const l4 = at + ipv4.MIN_HEADER;
  bytes.fill(0, at - 10, at);
  ipv4.write(view, at, 0, ipv4.MIN_HEADER + length, 0, true, 64, ipv4.PROTO_TCP, source, destination);
  tcp.write(
    view,
    l4,
    ports[0],
    ports[1],
    Math.imul(ports[0], 0x9e3779b1),
    flags === tcp.SYN ? 0 : random(),
    flags,
  );
  if (options > 0) {
    bytes.set(OPTIONS, l4 + tcp.MIN_HEADER);
    view.setUint8(l4 + 12, (length >>> 2) << 4);
  }
  const pseudo = pseudoHeader(source, destination, ipv4.PROTO_TCP, length);
  tcp.setCheck(view, l4, ~fold(sum(view, l4, length, pseudo)) & 0xffff);
}

/** @returns where the packet begins */
function write(i: number): number {
  const at = injector.placeOf(i);
  const port = 1024 + (sent % 60_000);
  if (kind === 'syn' || kind === 'repeated') {
    const sport = kind === 'syn' ? port : 1024 + Math.floor(sent / REPEATED);
    segment(at, word(from), word(to), [sport, 80], tcp.SYN);
  } else if (kind === 'syn-ack') segment(at, word(from), word(to), [80, port], tcp.SYN | tcp.ACK);
  else if (kind === 'tunnel' || kind === 'tagged') {
    segment(at, word(via), word(SERVICE), [port, 80], tcp.SYN);
    const l4 = at + ipv4.MIN_HEADER;
    const [key, id] = keyOf(sent);
    const end = l4 + tcp.MIN_HEADER + OPTIONS.length - 1;
    const epoch = tag.epochOf(Date.now() / 1000);
    const version = stolen === undefined ? 1 + (sent % 3) : tag.VERSION;
    const tagged = tag.insert(view, bytes, at, l4, end, key, id, epoch, gatewayId, version);
    return kind === 'tagged' ? tagged : ipip.encapsulate(view, tagged, word(from), word(to), 0);
  } else {
    const [key, keyId] = keyOf(sent);
    const request = { source: word(from), destination: word(to), sport: port, length: probe.LEAST };
    const replyLength = kind === 'echo' ? probe.LEAST : 1500;
    const rest = { replyLength, form: probe.PLAIN, number: sent, gatewayId, keyId };
    const isPaired = stolen === undefined && sent % 2 === 0;
    probe.writeRequest(view, at, { ...request, ...rest, isPaired }, key);
  }
  return at;
}

const timer = setInterval(() => {
  const n = Math.min(batch, Number(count) - sent);
  for (let i = 0; i < n; i++) {
    starts[i] = write(i);
    sentBytes += ipv4.totalLength(view, starts[i]);
    sent++;
  }
  if (n > 0) return injector.send(n, (i) => starts[i]);
  clearInterval(timer);
  injector.release();
  process.stdout.write(`${JSON.stringify({ sent, bytes: sentBytes })}\n`, () => process.exit(0));
}, EVERY_MS);
