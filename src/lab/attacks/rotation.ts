/** Every machine of a fleet gets new keys, one after another, under load: what fails, and which tags and probes are refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { ask, askJson } from '../admin-client.js';
import { startClients } from '../damage/clients.js';
import { TIMEOUT_MS } from '../damage/tried.js';
import { type Figure, figure } from '../figure.js';
import { Lab } from '../lab.js';
import { cliScript } from '../paths.js';
import { pause, waitUntil } from '../process.js';

const HOSTS = ['gateway', 'origin', 'r1', 'r2'];
/** Longer than a machine sends with its former key (`src/trust/pair-keys.ts`). */
const SETTLED_MS = 11_000;
const READY_MS = 15_000;

/** Tags and probes that a role refused since its start: `HOST REASON`, with their number. */
export async function refusedTags(lab: Lab, host: string): Promise<Record<string, number>> {
  const status = await askJson<{ counters: Record<string, number> }>(
    lab.roles.adminSocket(host),
    '/v1/status',
  );
  const found = Object.entries(status!.counters).filter(
    ([reason, count]) =>
      count > 0 && /tag[.-](foreign|stale|forged|malformed|seen)|probe-forged/.test(reason),
  );
  return Object.fromEntries(found.map(([reason, count]) => [`${host} ${reason}`, count]));
}

/** What all hosts have refused: before it has read a gateway's record, a machine knows none of its first probes. */
export async function refusedByAll(lab: Lab): Promise<Record<string, number>> {
  return Object.assign({}, ...(await Promise.all(HOSTS.map((host) => refusedTags(lab, host)))));
}

/** What was refused beyond what had been before. */
export const beyond = (
  refused: Readonly<Record<string, number>>,
  before: Readonly<Record<string, number>>,
): Record<string, number> =>
  Object.fromEntries(Object.entries(refused).filter(([what, count]) => count > (before[what] ?? 0)));

/**
 * Gives one host new keys, and restarts its role with them.
 * @returns what it refused before
 */
export async function rotate(lab: Lab, host: string): Promise<Record<string, number>> {
  const before = `${lab.directory}/${host}.identity`;
  const out = `${before}.next`;
  const argv = [process.execPath, cliScript, 'fleet', 'rotate', before];
  const made = await lab.exec(host, [...argv, '--key', `${lab.directory}/fleet.key`, '--out', out]);
  if (made.status !== 0) throw new Error(made.stderr);
  const path = lab.roles.configFile(host);
  const file = parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, stringify({ ...file, identityFile: out }));
  const refused = await refusedTags(lab, host);
  await lab.killRole(host);
  lab.startRole(host);
  const isReady = async (): Promise<boolean> =>
    (await ask(lab.roles.adminSocket(host), '/readyz'))?.status === 200;
  if (!(await waitUntil(isReady, READY_MS, 100))) throw new Error(`${host} is not ready`);
  await pause(SETTLED_MS);
  return refused;
}

export async function playRotation(perSecond: number, seed: number): Promise<Figure[]> {
  const lab = await Lab.create({
    ...{ name: `rotation-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ configuration: 'C', race: 'origin', identities: 'alone' },
  });
  try {
    const clients = startClients(lab, perSecond);
    await clients.untilCalm();
    const from = Date.now();
    const before = await refusedByAll(lab);
    const refused: Record<string, number> = {};
    for (const host of HOSTS) Object.assign(refused, beyond(await rotate(lab, host), before));
    const to = Date.now();
    await pause(TIMEOUT_MS);
    for (const [what, count] of Object.entries(await refusedByAll(lab)))
      refused[what] = (refused[what] ?? 0) + count;
    const tried = clients.tried.filter((t) => t.at >= from && t.at < to);
    const failed = tried.filter((t) => t.error !== '').length;
    const count = Object.values(refused).reduce((a, b) => a + b, 0);
    const id = 'rotation';
    const play = { bench: 'attacks', seed } as const;
    return [
      figure(
        play,
        id,
        failed,
        { most: 0 },
        `connections that failed, of ${tried.length} at ${perSecond} a second, while each machine got new keys and was killed and started with them`,
      ),
      figure(
        play,
        `${id}:refused`,
        count,
        { most: 0 },
        `tags and probes refused ${Object.keys(refused).join(', ')}`,
      ),
    ];
  } finally {
    await lab.down();
  }
}
