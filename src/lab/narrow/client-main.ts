/**
 * The client of `bench paths`, in the network namespace in which this process is started: transfers of one size, some
 * at a time. Arguments: ADDRESS up|down SHA256 BYTES COUNT AT_ONCE FILE, where FILE holds the bytes that are sent up.
 * One line of JSON per transfer on stdout ({@link Transfer}).
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { GIVE_UP_MS, type Transfer, type Way } from './transfer.js';

const [address, way, sha256, bytes, count, atOnce, file] = process.argv.slice(2);
const size = Number(bytes);
const CHUNK = 32 * 1024;
const sent = (way as Way) === 'up' ? readFileSync(file) : Buffer.alloc(0);

/** Ends with the reason why it failed, or ''. */
function exchange(n: number, progress: () => void, socket: Socket): Promise<[string, string]> {
  return new Promise((resolve) => {
    const hash = createHash('sha256');
    let head = '';
    let body = 0;
    let inBody = false;
    const end = (error: string): void => {
      socket.destroy();
      resolve([error, /\r\nX-Served-By: (\S+)/i.exec(head)?.[1] ?? '']);
    };
    const take = (part: Buffer): void => {
      body += part.length;
      if (way === 'down') hash.update(part);
    };
    socket.on('connect', () => {
      progress();
      if (way === 'down')
        socket.write(`GET /blob/narrow HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`);
      else {
        socket.write(
          `PUT /upload/narrow-${n} HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`,
        );
        send(0);
      }
    });
    const send = (from: number): void => {
      if (from >= size) return;
      socket.write(sent.subarray(from, from + CHUNK), () => {
        progress();
        send(from + CHUNK);
      });
    };
    socket.on('data', (part) => {
      progress();
      if (inBody) return take(part);
      head += part.toString('latin1');
      const at = head.indexOf('\r\n\r\n');
      if (at < 0) return;
      inBody = true;
      take(Buffer.from(head.slice(at + 4), 'latin1'));
      head = head.slice(0, at);
    });
    socket.on('error', (error) => end(error.message));
    socket.on('timeout', () => end(`no progress in ${GIVE_UP_MS / 1000} s`));
    socket.on('end', () => {
      if (!/^HTTP\/1.1 20[0-9] /.test(head)) return end(`answer: ${head.split('\r\n')[0]}`);
      if (way === 'down' && (body !== size || hash.digest('hex') !== sha256)) return end('other bytes');
      end('');
    });
  });
}

async function transfer(n: number): Promise<Transfer> {
  const begun = performance.now();
  let last = begun;
  let stallMs = 0;
  const progress = (): void => {
    const now = performance.now();
    stallMs = Math.max(stallMs, now - last);
    last = now;
  };
  const socket = connect({ host: address, port: 80 });
  socket.setTimeout(GIVE_UP_MS);
  const [error, servedBy] = await exchange(n, progress, socket);
  progress();
  return { n, error, servedBy, tookMs: Math.round(last - begun), stallMs: Math.round(stallMs) };
}

let begun = 0;
const worker = async (): Promise<void> => {
  while (begun < Number(count)) process.stdout.write(`${JSON.stringify(await transfer(begun++))}\n`);
};
await Promise.all(Array.from({ length: Number(atOnce) }, worker));
