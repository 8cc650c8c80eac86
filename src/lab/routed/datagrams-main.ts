/**
 * Datagrams for the laboratory of service-level routing:
 *
 *   node datagrams-main.js serve ADDRESS PORT NAME                       answers each datagram with its name, at its length
 *   node datagrams-main.js ask ADDRESS PORT FLOWS EACH GAP_MS [BYTES]    one socket per flow; prints a line of JSON
 */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const [mode, address, portText, ...rest] = process.argv.slice(2);
const port = Number(portText);
const family = isIPv6(address) ? 'udp6' : 'udp4';

/** The result of `ask`. */
export interface Asked {
  flows: number;
  datagrams: number;
  answered: number;
  /** Flows that more than one server answered. */
  split: number;
}

const LAST_ANSWER_MS = 1000;
const AT_ONCE = 20;

function serve(name: string): void {
  const socket = createSocket(family);
  socket.on('message', (text, from) => socket.send(name.padEnd(text.length), from.port, from.address));
  socket.bind(port, address);
}

async function ask(flows: number, each: number, gapMs: number, bytes = 1): Promise<Asked> {
  const question = Buffer.alloc(bytes, '?');
  const result: Asked = { flows, datagrams: 0, answered: 0, split: 0 };
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = createSocket(family);
      const names = new Set<string>();
      let sent = 0;
      const end = (): void => {
        socket.close();
        if (names.size > 1) result.split++;
        resolve();
      };
      socket.on('message', (name) => {
        if (name.length >= bytes) result.answered++;
        names.add(name.toString().trim());
      });
      const send = (): void => {
        socket.send(question, port, address);
        result.datagrams++;
        if (++sent < each) setTimeout(send, gapMs);
        else setTimeout(end, LAST_ANSWER_MS);
      };
      send();
    });
  const all: Promise<void>[] = [];
  for (let f = 0; f < flows; f++) {
    all.push(one());
    if (f % AT_ONCE === AT_ONCE - 1) await new Promise((resolve) => setTimeout(resolve, gapMs));
  }
  await Promise.all(all);
  return result;
}

if (mode === 'serve') serve(rest[0]);
else {
  const [flows, each, gapMs, bytes] = rest.map(Number);
  process.stdout.write(`${JSON.stringify(await ask(flows, each, gapMs, bytes))}\n`);
}
