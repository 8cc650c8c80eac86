/**
 * Sends forged and repeated datagrams of members and neighbours, as a stranger on the way could, from the network
 * namespace in which it runs (`../attacks/injector.ts`):
 *
 *   node forge-main.js FILE COUNT PER_SECOND     FILE: genuine packets that were captured, one per line, in hex
 *
 * A third are repeated as they were, a third have one bit changed, a third have other bytes behind the message's name.
 * Prints `{sent}`.
 */
import { readFileSync } from 'node:fs';
import { generator } from '../../load/generator.js';
import { Injector } from '../attacks/injector.js';

const [file, countText, perSecondText] = process.argv.slice(2);
const [count, perSecond] = [Number(countText), Number(perSecondText)];
const genuine = readFileSync(file, 'utf8')
  .trim()
  .split('\n')
  .map((line) => Buffer.from(line, 'hex'));
const random = generator(1);
const EVERY_MS = 10;
const BATCH = Math.max(1, Math.round((perSecond * EVERY_MS) / 1000));
/** Headers of IPv4 and UDP, and the four bytes by which a message is known. */
const HEADERS = 28;
const NAME = 4;
/** For the largest of these packets. */
const SLOT = 1600;

const injector = new Injector(BATCH, SLOT);
const arena = new Uint8Array(injector.view.buffer);
let sent = 0;

function write(i: number): void {
  const packet = genuine[Math.floor(random() * genuine.length)];
  const at = injector.placeOf(i);
  arena.set(packet, at);
  const from = at + HEADERS;
  const length = packet.length - HEADERS;
  if (sent % 3 === 1) arena[from + Math.floor(random() * length)] ^= 1 << Math.floor(random() * 8);
  if (sent % 3 === 2) for (let b = NAME; b < length; b++) arena[from + b] = Math.floor(random() * 256);
  sent++;
}

const begun = performance.now();
const timer = setInterval(() => {
  const due = Math.min(count, ((performance.now() - begun) / 1000) * perSecond);
  while (sent < due) {
    const n = Math.min(BATCH, count - sent);
    for (let i = 0; i < n; i++) write(i);
    injector.send(n, (i) => injector.placeOf(i));
  }
  if (sent < count) return;
  clearInterval(timer);
  injector.release();
  process.stdout.write(`${JSON.stringify({ sent })}\n`, () => process.exit(0));
}, EVERY_MS);
