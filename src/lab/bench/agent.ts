/**
 * Makes TCP connections for the bench, in the network namespace in which it is started: one JSON request per line on
 * stdin, one answer per line on stdout. See `connect.ts`.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import type { Connection, Order } from './connect.js';

const TIMEOUT_MS = 10_000;

/** Opens one connection and sends one request on it. @param localAddress undefined: as the kernel chooses */
function connectOnce(address: string, port: number, localAddress?: string): Promise<Connection> {
  return new Promise((resolve) => {
    const begun = performance.now();
    const begunAtMs = performance.timeOrigin + begun;
    const socket = connect({ host: address, port, autoSelectFamily: false, noDelay: true, localAddress });
    let connectMs = 0;
    let text = '';
    const end = (): void => {
      socket.destroy();
      resolve({ servedBy: /^X-Served-By: (\S+)\r$/im.exec(text)?.[1] ?? '', connectMs, begunAtMs });
    };
    socket.once('connect', () => {
      connectMs = performance.now() - begun;
      socket.write(`GET / HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.once('close', end);
    socket.once('error', end);
    socket.setTimeout(TIMEOUT_MS, end);
  });
}

let made = 0;
/** The next connection, from the order's source addresses in turn. */
function next({ address, port, sources }: Order): Promise<Connection> {
  return connectOnce(address, port, sources?.[made++ % sources.length]);
}

/** A late timer begins every connection that is due, so that the rate holds. */
async function steadily(order: Order, perSecond: number, connections: Connection[]): Promise<void> {
  const first = performance.now();
  const all: Promise<void>[] = [];
  const begin = async () => void connections.push(await next(order));
  while (all.length < order.count) {
    const due = Math.min(order.count, Math.floor(((performance.now() - first) / 1000) * perSecond) + 1);
    while (all.length < due) all.push(begin());
    await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond));
  }
  await Promise.all(all);
}

async function carryOut(order: Order): Promise<void> {
  const connections: Connection[] = [];
  let begun = 0;
  if (order.perSecond !== undefined) {
    await steadily(order, order.perSecond, connections);
    process.stdout.write(`${JSON.stringify({ id: order.id, connections })}\n`);
    return;
  }
  const worker = async (): Promise<void> => {
    while (begun++ < order.count) connections.push(await next(order));
  };
  await Promise.all(Array.from({ length: Math.min(order.count, order.concurrency) }, worker));
  process.stdout.write(`${JSON.stringify({ id: order.id, connections })}\n`);
}

createInterface({ input: process.stdin }).on('line', (line) => void carryOut(JSON.parse(line) as Order));
