/** A fleet of the former release gets this one, identities, and at last no key in common, machine by machine, under load. */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { startClients } from '../damage/clients.js';
import { TIMEOUT_MS } from '../damage/tried.js';
import { type Figure, figure } from '../figure.js';
import { Lab, type LabOptions } from '../lab.js';
import { pause, waitUntil } from '../process.js';
import { holdsOwnKeysOnly, refusedBy } from './thief.js';

/** The order in which machines are upgraded. */
const HOSTS = ['gateway', 'r1', 'origin', 'r2'];
const SETTLED_MS = 10_000;

interface RoleFile {
  tag: Record<string, unknown>;
  [key: string]: unknown;
}

/** Of a laboratory whose role files name no identity, and whose machines have one beside them. */
export const WITHOUT_IDENTITIES = {
  // With tags, which the origin and the replicas check: a fleet with identities makes another version of them.
  ...{ configuration: 'C', race: 'origin', identities: true },
  edit: (_: string, { identityFile: _file, ...file }: Record<string, unknown>) => file,
} as const satisfies Partial<LabOptions>;

/** Changes a host's role file, and hands its role over to a new process. */
export async function restartWith(lab: Lab, host: string, change: (file: RoleFile) => object): Promise<void> {
  const path = lab.roles.configFile(host);
  writeFileSync(path, stringify(change(parse(readFileSync(path, 'utf8')) as RoleFile)));
  await lab.killRole(host);
  lab.startRole(host);
  await lab.roles.waitUntilReady();
}

/**
 * Gives a fleet identities machine by machine: first each signs, and believes all; when all sign, each believes signed records
 * only.
 * @returns what is refused in between, when all sign
 */
export async function giveIdentities(lab: Lab): Promise<string[]> {
  for (const host of HOSTS) {
    delete lab.roles.options.trees?.[host];
    const identityFile = `${lab.directory}/${host}.identity`;
    await restartWith(lab, host, (file) => ({ ...file, identityFile, unsignedRecords: 'accept' }));
  }
  let refused: string[] = [];
  await waitUntil(
    async () => {
      refused = await refusedByAny(lab);
      return refused.length === 0;
    },
    SETTLED_MS,
    200,
  );
  for (const host of HOSTS) await restartWith(lab, host, (file) => ({ ...file, unsignedRecords: 'refuse' }));
  return refused;
}

async function refusedByAny(lab: Lab): Promise<string[]> {
  const all = await Promise.all(HOSTS.map((host) => refusedBy(lab, host)));
  return all.flatMap((refused, n) => Object.keys(refused).map((key) => `${HOSTS[n]}: ${key}`));
}

/** @param before the installed tree of the former release; undefined: this build, with the former release's role files */
export async function playUpgrade(perSecond: number, seed: number, before?: string): Promise<Figure[]> {
  const trees = before === undefined ? {} : Object.fromEntries(HOSTS.map((host) => [host, before]));
  const lab = await Lab.create({
    ...{ name: `upgrade-${process.pid}`, seed, topology: 'replica-nearest', idle: ['r3'] },
    ...{ ...WITHOUT_IDENTITIES, trees },
  });
  try {
    const clients = startClients(lab, perSecond);
    await clients.untilCalm();
    const from = Date.now();
    const refused = await giveIdentities(lab);
    for (const host of HOSTS)
      await restartWith(lab, host, ({ tag: { keyFile: _key, ...tag }, ...file }) => ({ ...file, tag }));
    await clients.untilCalm();
    const to = Date.now();
    refused.push(...(await refusedByAny(lab)));
    await pause(TIMEOUT_MS);
    const tried = clients.tried.filter((t) => t.at >= from && t.at < to);
    const failed = tried.filter((t) => t.error !== '');
    const shared = HOSTS.filter((host) => !holdsOwnKeysOnly(lab, host));
    const play = { bench: 'attacks', seed, options: before && `--before ${before}` } as const;
    const start = before === undefined ? 'files of the former release' : 'the former release';
    const errors = [...new Set(failed.map((t) => t.error))].join(' ');
    const what = `connections that failed, of ${tried.length} at ${perSecond} a second, from ${start} to a fleet without a key in common, each of ${HOSTS.length} roles killed and started three times ${errors}`;
    return [
      figure(play, 'upgrade', failed.length, { most: 0 }, what.trim()),
      figure(
        play,
        'upgrade:refused',
        refused.length + shared.length,
        { most: 0 },
        `records that were refused, and files that name a key of several machines, at the end ${[...refused, ...shared].join(' ')}`.trim(),
      ),
    ];
  } finally {
    await lab.down();
  }
}
