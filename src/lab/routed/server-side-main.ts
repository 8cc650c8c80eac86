/**
 * Beside a server in `bench routing --only load-aware`: what HAProxy's agent check asks, and a way to the router on which
 * what the server says is late now and then.
 *
 *   node server-side-main.js AGENT_PORT SERVER_PID QUOTA_FILE RELAY_PORT ROUTER ROUTER_PORT
 */
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { PERIOD_US } from './cpu-share.js';

const [agentPort, pid, quotaFile, relayPort, router, routerPort] = process.argv.slice(2);
const LOOK_MS = 500;
/** `utime` and `stime` are in these units (proc_pid_stat(5)). */
const TICK_MS = 10;
/** In a fifth of the time, what is said is this late. */
const LATE_MS = 2000;
const EVERY_MS = 10_000;
/** Not all servers at once. */
const phaseMs = (Number(pid) * 2700) % EVERY_MS;

/** Processor time of the server so far, ms. */
function spentMs(): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

let before = { ms: spentMs(), at: performance.now() };
let idle = 100;
setInterval(() => {
  const now = { ms: spentMs(), at: performance.now() };
  const share = Number(readFileSync(quotaFile, 'utf8').trim().split(' ')[0]) / PERIOD_US;
  const used = (now.ms - before.ms) / ((now.at - before.at) * share);
  idle = Math.max(1, Math.min(100, Math.round(100 * (1 - used))));
  before = now;
}, LOOK_MS);
createServer((s) => s.on('error', () => {}).end(`${idle}%\n`)).listen(Number(agentPort), '0.0.0.0');

createServer((from) => {
  const to = connect(Number(routerPort), router);
  const end = (): void => {
    from.destroy();
    to.destroy();
  };
  for (const s of [from, to]) s.once('error', end).once('close', end);
  to.pipe(from);
  const waiting: { bytes: Buffer; dueAt: number }[] = [];
  // Two timers of one moment may run in either order, and what is late comes before what was said behind it.
  const pass = (): void => {
    while (waiting.length > 0 && waiting[0].dueAt <= Date.now()) to.write(waiting.shift()!.bytes);
    if (waiting.length > 0) setTimeout(pass, waiting[0].dueAt - Date.now());
  };
  from.on('data', (bytes: Buffer) => {
    const now = Date.now();
    const isLate = (now + phaseMs) % EVERY_MS >= EVERY_MS - LATE_MS;
    waiting.push({ bytes, dueAt: isLate ? now + LATE_MS : now });
    if (waiting.length === 1) pass();
  });
}).listen(Number(relayPort), '127.0.0.1');
