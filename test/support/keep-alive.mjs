// Keeps one connection open as long as this process lives. For each line of its input, a path, it fetches that path
// over the connection and prints a line of JSON: {port, servedBy, bytes, sha256}, or {error}. If a second connection
// were opened, the caller would see another port.
import { createHash } from 'node:crypto';
import { Agent, get } from 'node:http';
import { createInterface } from 'node:readline';

const [host] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function fetchPath(path) {
  return new Promise((resolve) => {
    get({ host, path, agent, timeout: 30_000 }, (response) => {
      const hash = createHash('sha256');
      const { localPort: port } = response.socket;
      let bytes = 0;
      response.on('data', (part) => {
        bytes += part.length;
        hash.update(part);
      });
      response.on('error', (error) => resolve({ error: error.message }));
      response.on('end', () =>
        resolve({ port, servedBy: response.headers['x-served-by'], bytes, sha256: hash.digest('hex') }),
      );
    }).on('error', (error) => resolve({ error: error.message }));
  });
}

for await (const path of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await fetchPath(path))}\n`);
}
process.exit();
