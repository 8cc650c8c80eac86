/**
 * Makes TCP connections for the bench, in the network namespace in which it is started: one JSON request per line on
 * stdin, one answer per line on stdout. See `connect.ts`.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Connection, Order } from './connect.js';

const TIMEOUT_MS = 10_000;

const SERVED_BY = /^X-Served-By: (\S+)\r$/im;
const requestTo = (address: string, connection: 'close' | 'keep-alive'): string =>
  `GET / HTTP/1.1\r\nHost: ${address}\r\nConnection: ${connection}\r\n\r\n`;

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
      resolve({ servedBy: SERVED_BY.exec(text)?.[1] ?? '', connectMs, begunAtMs });
    };
    socket.once('connect', () => {
      connectMs = performance.now() - begun;
      socket.write(requestTo(address, 'close'));
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

/** By the order that opened them: connections that are held. */
const held = new Map<number, Socket>();

/** Sends a request on a connection that stays open, and returns the server's name; '' when it is broken. */
function askOn(socket: Socket, address: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const end = (): void => {
      clearTimeout(timer);
      socket.off('data', take);
      socket.off('close', end);
      resolve(SERVED_BY.exec(text)?.[1] ?? '');
    };
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (text.includes('\r\n\r\n')) end();
    };
    const timer = setTimeout(end, TIMEOUT_MS);
    socket.on('data', take);
    socket.once('close', end);
    socket.write(requestTo(address, 'keep-alive'));
  });
}

async function hold(order: Order): Promise<Connection> {
  const { id, address, port, sources } = order;
  const begun = performance.now();
  const localAddress = sources?.[made++ % sources.length];
  const socket = connect({ host: address, port, autoSelectFamily: false, noDelay: true, localAddress });
  socket.on('error', () => {});
  held.set(id, socket);
  let connectMs = 0;
  socket.once('connect', () => {
    connectMs = performance.now() - begun;
  });
  const servedBy = await askOn(socket, address);
  return { servedBy, connectMs, begunAtMs: performance.timeOrigin + begun };
}

/** Asks once more on a connection that is held, and ends it. */
async function askAgain(address: string, opened: number): Promise<Connection> {
  const begunAtMs = performance.timeOrigin + performance.now();
  const socket = held.get(opened);
  held.delete(opened);
  const isOpen = socket?.readyState === 'open';
  const servedBy = socket !== undefined && isOpen ? await askOn(socket, address) : '';
  socket?.destroy();
  return { servedBy, connectMs: 0, begunAtMs };
}

async function carryOut(order: Order): Promise<void> {
  const connections: Connection[] = [];
  if (order.isHeld === true || order.opened !== undefined) {
    connections.push(
      order.opened === undefined ? await hold(order) : await askAgain(order.address, order.opened),
    );
    process.stdout.write(`${JSON.stringify({ id: order.id, connections })}\n`);
    return;
  }
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
