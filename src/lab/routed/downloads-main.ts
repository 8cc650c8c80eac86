/**
 * Slow downloads, in the client's namespace: so many at a time until SIGTERM, then those that run end by themselves.
 *
 *   node downloads-main.js ADDRESS PORT PATH AT_ONCE     prints a line of JSON at the end
 */
import { get } from 'node:http';

const [address, port, path, atOnceText] = process.argv.slice(2);
const atOnce = Number(atOnceText);

/** What became of the downloads. */
export interface Downloaded {
  whole: number;
  broken: number;
  /** By reason. */
  errors: Record<string, number>;
}

const RAMP_MS = 5000;
const STEP_MS = 50;
/** A download that gets nothing for so long is broken. */
const SILENT_MS = 15_000;

const result: Downloaded = { whole: 0, broken: 0, errors: {} };
let running = 0;
let isEnding = false;

function one(): void {
  running++;
  const end = (error: string): void => {
    running--;
    if (error === '') result.whole++;
    else {
      result.broken++;
      result.errors[error] = (result.errors[error] ?? 0) + 1;
    }
    if (!isEnding) one();
    else if (running === 0) finish();
  };
  let isOver = false;
  const once = (error: string): void => {
    if (isOver) return;
    isOver = true;
    end(error);
  };
  const request = get({ host: address, port: Number(port), path, agent: false }, (response) => {
    let length = 0;
    response.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    response.once('error', (error) => once(error.message));
    response.once('end', () => {
      const wanted = Number(response.headers['content-length']);
      once(
        response.statusCode === 200 && length === wanted
          ? ''
          : `status ${response.statusCode}, ${length} bytes`,
      );
    });
  });
  request.once('error', (error) => once(error.message));
  request.setTimeout(SILENT_MS, () => request.destroy(new Error('silent')));
}

function finish(): void {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

process.once('SIGTERM', () => {
  isEnding = true;
  if (running === 0) finish();
});

// Not all at once, so that they do not end at once either.
const each = Math.max(1, Math.ceil((atOnce * STEP_MS) / RAMP_MS));
const ramp = setInterval(() => {
  for (let n = 0; n < each && running < atOnce; n++) one();
  if (running >= atOnce) clearInterval(ramp);
}, STEP_MS);
