/**
 * Keeps HTTP connections open, one per local port, and sends a request on each of them for every line of stdin:
 * `kept-connections.mjs ADDRESS PORT FIRST-LOCAL-PORT COUNT`. Prints one JSON array per round, by local port: the
 * name of the server that answered, or `error: …`. The line `reset` closes all of them by a reset, so that their
 * ports can be used again at once.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const [address, port, first, count] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const TIMEOUT_MS = 5000;

function open(localPort) {
  const socket = connect({ host: address, port, localPort, autoSelectFamily: false });
  const kept = { socket, text: '', failure: '', answered: () => {} };
  socket.setEncoding('latin1');
  socket.on('data', (chunk) => {
    kept.text += chunk;
    const served = /x-served-by: (\S+)[\s\S]*\r\n\r\n[\s\S]*\n$/i.exec(kept.text);
    if (served !== null) kept.answered(served[1]);
  });
  const fail = (why) => {
    kept.failure ||= `error: ${why}`;
    kept.answered(kept.failure);
  };
  socket.on('error', (e) => fail(e.code));
  socket.on('close', () => fail('closed'));
  return kept;
}

function ask(kept) {
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve('error: no answer'), TIMEOUT_MS);
    kept.text = '';
    kept.answered = (name) => {
      clearTimeout(late);
      resolve(name);
    };
    if (kept.failure !== '') return kept.answered(kept.failure);
    kept.socket.write(`GET / HTTP/1.1\r\nHost: ${address}\r\n\r\n`);
  });
}

let all = [];
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'reset') {
    for (const { socket } of all) socket.resetAndDestroy();
    all = [];
    continue;
  }
  if (all.length === 0) all = Array.from({ length: count }, (_, n) => open(first + n));
  // A few at a time, because two cores serve all of them.
  const answers = [];
  for (let n = 0; n < all.length; n += 50)
    answers.push(...(await Promise.all(all.slice(n, n + 50).map(ask))));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
process.exit(0);
