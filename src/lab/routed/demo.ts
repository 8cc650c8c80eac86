/** The part of `lab demo` about service-level routing: a connection, its shortcut, and one that survives its routers. */
import { capture, TUNNELLED_REST, TUNNELLED_SYN } from './capture.js';
import { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';
import { Survivors } from './survivors.js';

const CLIENT_DELAY_MS = 10;
const REQUESTS = 10;

/** @returns what was not as expected */
export async function showRouting(
  say: (line: string) => void,
  step: (line: string) => void,
): Promise<string[]> {
  const wrong: string[] = [];
  const lab = await RoutedLab.create({
    name: `demo-r-${process.pid}`,
    shape: { networks: 1, systems: 0, sites: 1, servers: 2 },
    clientDelayMs: CLIENT_DELAY_MS,
    progress: step,
  });
  try {
    const seen = { n1: await capture(lab, 'n1', 'ip or arp'), t1: await capture(lab, 't1', 'ip proto 4') };
    step(`client: curl http://${VIRTUAL}/, ${REQUESTS} times`);
    const servers = new Map<string, number>();
    for (let n = 0; n < REQUESTS; n++) {
      const { stdout } = await lab.exec('client', ['curl', '-sS', '--max-time', '5', `http://${VIRTUAL}/`]);
      const server = /served by (\S+)/.exec(stdout)?.[1];
      if (server === undefined) wrong.push('a request through the routers failed');
      else servers.set(server, (servers.get(server) ?? 0) + 1);
    }
    for (const c of Object.values(seen)) await c.end();
    const entered = await seen.n1.count(`dst host ${VIRTUAL} and tcp and not ip proto 4`);
    const [syns, rest] = [await seen.t1.count(TUNNELLED_SYN), await seen.t1.count(TUNNELLED_REST)];
    const answers = await seen.n1.count(`src host ${VIRTUAL}`);
    const list = [...servers].map(([name, count]) => `${name} ${count}`).join(', ');
    say(
      `${VIRTUAL} is no machine's address: n1, the network's router, chose a site, and t1, the site's, a server: ${list}.`,
    );
    say(
      `n1 got ${entered} packets of ${REQUESTS} connections. t1 got ${syns} SYNs and ${rest} other packets: it told n1 where each`,
    );
    say(
      `connection went, and the rest took the shortcut past it. Packets of answers at n1: ${answers}; servers answer directly.`,
    );
    if (syns < REQUESTS) wrong.push(`t1 saw ${syns} SYNs of ${REQUESTS} connections`);
    if (answers > 0) wrong.push(`${answers} packets of answers passed n1`);

    const survivors = new Survivors(lab);
    await survivors.open(REQUESTS, 'idle');
    step(`SIGKILL for the roles of n1 and t1, while ${REQUESTS} connections are open`);
    await Promise.all([lab.kill('n1'), lab.kill('t1')]);
    const { idle } = await survivors.end();
    say(
      `${idle.connections - idle.broken} of ${idle.connections} connections went on without them: the kernel carries what was decided.`,
    );
    if (idle.broken > 0) wrong.push(`${idle.broken} connections broke with their routers' roles`);
  } finally {
    await lab.down();
  }
  return wrong.map((line) => `routing: ${line}`);
}
