/**
 * A flood of datagrams from one address to another.
 *
 *   node udp-main.js FROM TO PORT MBIT     until it is ended
 */
import { createSocket } from 'node:dgram';

const [from, to, port, mbit] = process.argv.slice(2);
const BYTES = 1400;
const EVERY_MS = 5;
const socket = createSocket('udp4');
const payload = Buffer.alloc(BYTES);
const perTick = Math.ceil((Number(mbit) * 1e6 * EVERY_MS) / 1000 / 8 / BYTES);
socket.on('error', () => {});
socket.bind(0, from, () => {
  setInterval(() => {
    for (let n = 0; n < perTick; n++) socket.send(payload, Number(port), to, () => {});
  }, EVERY_MS);
});
