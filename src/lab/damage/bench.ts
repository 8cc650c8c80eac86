/**
 * `firstack bench damage`: damages a running fleet, one thing at a time, under a steady rate of new connections, and
 * measures when the role says it, how often, and when connections succeed again.
 */
import { generator } from '../../load/generator.js';
import { askJson } from '../admin-client.js';
import { commandOf, type Figure, figure } from '../figure.js';
import { Lab } from '../lab.js';
import { pause, waitUntil } from '../process.js';
import { CALM_MS, type Clients, startClients } from './clients.js';
import { type Damage, SCENES, type Scene } from './damages.js';
import { playStuck } from './stuck.js';

const PER_SECOND = 25;
/** The limits of the issue: seconds until a damage is said, and until it is healed. */
const NOTICED_S = 5;
const HEALED_S = 10;
/** Seconds within which it must be said that a person's mending had its effect: a machine comes back by proof. */
const MENDED_S = 20;

export interface DamageOptions {
  /** The beginning of the ids that are tried. */
  only?: string;
  seed: number;
  json: boolean;
}

/** One damage's figures. `value`: seconds until it was healed; `low`, `high`: until it was said, and until healed. */
export interface DamageFigure extends Figure {
  scene: string;
  /** How often it was said, and what. */
  said: number;
  message: string;
  /** Connections that failed, within the window and beyond it. */
  failed: number;
  lost: number;
  why: string;
}

interface Heard {
  at: number;
  kind: string;
  subject: string;
  message: string;
}

/** @returns the exit code: 1 when a damage was not noticed, not healed, or lost connections */
export async function benchDamage(o: DamageOptions): Promise<number> {
  const figures: DamageFigure[] = [];
  for (const scene of SCENES) {
    const wanted = scene.damages.filter((d) => d.id.startsWith(o.only ?? ''));
    if (wanted.length > 0) figures.push(...(await playScene(scene, shuffled(wanted, o.seed), o.seed)));
  }
  if (STUCK.startsWith(o.only ?? '')) figures.push(await stuckFigure(o.seed));
  process.stdout.write(o.json ? `${JSON.stringify(figures, null, 2)}\n` : tableOf(figures));
  return figures.every((f) => f.met === 'yes') && figures.length > 0 ? 0 : 1;
}

const STUCK = 'S2.gateway.stuck';
const STUCK_SECONDS = 30;
const STUCK_PER_SECOND = 200;
const STUCK_SHARE = 0.99;

async function stuckFigure(seed: number): Promise<DamageFigure> {
  const rate = { perSecond: STUCK_PER_SECOND, seconds: STUCK_SECONDS };
  const { tried, share } = await playStuck({ configuration: 'A', fastpath: 'auto', seed, ...rate });
  const failed = tried.filter((t) => t.error !== '').length;
  const message = `${(share * 100).toFixed(2)} % of ${tried.length} new connections were opened`;
  const what = `stops the process for ${STUCK_SECONDS} s under ${STUCK_PER_SECOND} connections a second: the share that opens, from two seconds on`;
  return {
    ...figure({ bench: 'damage', seed }, STUCK, share, { least: STUCK_SHARE }, what),
    ...{ scene: 'A in the kernel', said: 0, message, failed, lost: failed },
    why: share >= STUCK_SHARE ? '' : message,
  };
}

export function shuffled(list: readonly Damage[], seed: number): Damage[] {
  const random = generator(seed);
  return list
    .map((d) => ({ d, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ d }) => d);
}

/** A scene's laboratory, under a steady rate of new connections. */
export interface OpenScene {
  /** Does one damage, waits until all is well again, and judges what was said and lost. */
  play(d: Damage): Promise<DamageFigure>;
  close(): Promise<void>;
}

export async function openScene(scene: Scene, seed: number): Promise<OpenScene> {
  const { configuration, fastpath } = scene;
  const lab = await Lab.create({
    ...{ name: `damage-${process.pid}-${opened++}`, configuration, fastpath, seed, edit: scene.edit },
    ...{ topology: 'replica-nearest', race: scene.race ?? 'learned' },
  });
  const clients = startClients(lab, PER_SECOND);
  return {
    play: async (d) => {
      await clients.untilCalm();
      return play(lab, scene, d, clients, seed);
    },
    close: () => lab.down(),
  };
}
let opened = 0;

/** Does the damages one after another to one laboratory. */
async function playScene(scene: Scene, damages: readonly Damage[], seed: number): Promise<DamageFigure[]> {
  const open = await openScene(scene, seed);
  try {
    const figures: DamageFigure[] = [];
    for (const d of damages) figures.push(await open.play(d));
    return figures;
  } finally {
    await open.close();
  }
}

async function heard(lab: Lab, host: string, since: number): Promise<Heard[]> {
  const answer = await askJson<{ events: Heard[] }>(lab.roles.adminSocket(host), `/v1/events?since=${since}`);
  return answer?.events ?? [];
}

const textOf = (e: Heard): string => `${e.kind} ${e.subject} ${e.message}`;

async function play(
  lab: Lab,
  scene: Scene,
  d: Damage,
  clients: Clients,
  seed: number,
): Promise<DamageFigure> {
  const at = Date.now();
  await d.damage(lab);
  const first = await hear(lab, d.host, at, d.says);
  let mendedAt = at;
  let again: Heard | undefined;
  if (d.mend !== undefined) {
    mendedAt = Date.now();
    await d.mend(lab);
    again = await hear(lab, d.host, mendedAt, d.saysAgain!, MENDED_S);
  }
  await pause(CALM_MS);
  await clients.untilCalm();
  const events = (await heard(lab, d.host, at)).map(textOf);
  const said = events.filter((e) => d.says.test(e)).length;
  // Until a person mends an outage, nothing else could carry the connections.
  const from = d.isOutage ? mendedAt : at;
  const failures = clients.tried.filter((t) => t.error !== '' && t.at >= at);
  const lastFailed = Math.max(from, ...failures.map((t) => t.at));
  const lost = failures.filter((t) => t.at > from + HEALED_S * 1000).length;
  const noticedS = first === undefined ? Number.POSITIVE_INFINITY : (first.at - at) / 1000;
  const healedS = (lastFailed - from) / 1000;
  const why = [
    ...(noticedS <= NOTICED_S ? [] : [`not said within ${NOTICED_S} s; heard: ${events.join(' | ')}`]),
    ...(said <= 1 ? [] : [`said ${said} times`]),
    ...(d.mend === undefined || again !== undefined ? [] : ['its end was not said']),
    ...(healedS <= HEALED_S ? [] : [`healed after ${healedS} s only`]),
    ...(lost === 0 ? [] : [`${lost} connections lost beyond the window`]),
  ].join('; ');
  return {
    ...{ id: d.id, value: healedS, low: Number.isFinite(noticedS) ? noticedS : -1, high: healedS },
    target: `said once within ${NOTICED_S} s, healed within ${HEALED_S} s, 0 connections lost beyond`,
    met: why === '' ? 'yes' : 'no',
    command: commandOf({ bench: 'damage', seed }, d.id),
    ...{ what: d.what, scene: scene.name, said, message: first?.message ?? '' },
    ...{ failed: failures.length, lost, why },
  };
}

/** The first event that matches, within a time in which every damage must be said. */
async function hear(
  lab: Lab,
  host: string,
  since: number,
  says: RegExp,
  withinS = NOTICED_S,
): Promise<Heard | undefined> {
  let found: Heard | undefined;
  await waitUntil(
    async () => {
      found = (await heard(lab, host, since)).find((e) => says.test(textOf(e)));
      return found !== undefined;
    },
    withinS * 1000 + 1000,
    50,
  );
  return found;
}

function tableOf(figures: readonly DamageFigure[]): string {
  const row = (f: DamageFigure): string =>
    `${f.met.padEnd(4)}${f.id.padEnd(34)}${f.low.toFixed(1).padStart(6)}${f.value.toFixed(1).padStart(8)}${String(f.failed).padStart(8)}${String(f.lost).padStart(6)}  ${f.why === '' ? f.message : f.why}`;
  const head = `met ${'damage'.padEnd(34)}${'said s'.padStart(6)}${'healed s'.padStart(8)}${'failed'.padStart(8)}${'lost'.padStart(6)}  message`;
  return `${[head, ...figures.map(row)].join('\n')}\n`;
}
