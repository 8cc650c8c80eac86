/**
 * The clients of `bench damage`, in the network namespace in which this process is started: a new connection with one
 * request every few milliseconds. Arguments: ADDRESS PORT PER_SECOND. One line of JSON per connection on stdout, when
 * it has ended ({@link Tried}).
 */
import { connect } from 'node:net';
import { TIMEOUT_MS, type Tried } from './tried.js';

const [address, port, perSecond] = process.argv.slice(2);
const answer = /\r\nX-Served-By: (\S+)/i;

function tryOnce(): void {
  const at = Date.now();
  let text = '';
  const socket = connect({ host: address, port: Number(port) });
  const late = setTimeout(() => end(`no answer in ${TIMEOUT_MS} ms`), TIMEOUT_MS);
  let over = false;
  const end = (error: string): void => {
    if (over) return;
    over = true;
    clearTimeout(late);
    socket.destroy();
    const tried: Tried = { at, tookMs: Date.now() - at, error, servedBy: answer.exec(text)?.[1] ?? '' };
    process.stdout.write(`${JSON.stringify(tried)}\n`);
  };
  socket.setEncoding('latin1');
  socket.on('connect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`));
  socket.on('data', (part: string) => {
    text += part;
  });
  socket.on('error', (error) => end(error.message));
  socket.on('end', () => end(text.startsWith('HTTP/1.1 200') ? '' : 'the answer is cut short'));
}

setInterval(tryOnce, 1000 / Number(perSecond));
