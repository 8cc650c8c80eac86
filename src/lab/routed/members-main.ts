/**
 * Many members of one router, in one process: each has a session of its own, and says its state each second.
 *
 *   node members-main.js DIRECTORY ROUTER:PORT COUNT LEVEL     certificates: DIRECTORY/m1.pem, m1.key …; ends with SIGTERM
 *
 * A line on stdout when all are welcome.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { manyAddress, manyName } from './many.js';
import { VIRTUAL_SUBNET } from './plan.js';

const [directory, router, countText, level] = process.argv.slice(2);
const count = Number(countText);
const [host, port] = router.split(':');
const ca = readFileSync(`${directory}/ca.pem`);
const INTERVAL_MS = 1000;
/** Sessions that are opened at a time. */
const AT_ONCE = 20;

function session(n: number): Promise<void> {
  const id = manyName(n);
  const [cert, key] = ['pem', 'key'].map((kind) => readFileSync(`${directory}/${id}.${kind}`));
  const socket = connect({ host, port: Number(port), ca, cert, key, checkServerIdentity: () => undefined });
  const send = (message: object): void => void socket.write(`${JSON.stringify(message)}\n`);
  socket.setEncoding('utf8');
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('secureConnect', () => send({ type: 'hello', v: 1, id, level, address: manyAddress(n) }));
    socket.once('data', () => {
      let said = 0;
      setTimeout(
        () =>
          setInterval(() => {
            const load = Math.round(Math.random() * 1000) / 1000;
            send({
              type: 'state',
              n: ++said,
              subnets: [{ subnet: VIRTUAL_SUBNET, load, available: true, servers: 4 }],
            });
          }, INTERVAL_MS),
        Math.random() * INTERVAL_MS,
      );
      resolve();
    });
  });
}

let next = 1;
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next <= count) await session(next++);
  }),
);
process.stdout.write('welcome\n');
