/**
 * Changes of the set under load: servers are added and removed, their weights change, four drain at once, while long
 * downloads go on and new connections come.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { generator } from '../../load/generator.js';
import { askJson } from '../admin-client.js';
import { Client, type Connection } from '../bench/connect.js';
import { pause, waitUntil } from '../process.js';
import { post } from './ask.js';
import { Downloads } from './downloads.js';
import type { Downloaded } from './downloads-main.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';

export interface ChurnOptions {
  changes: number;
  seconds: number;
  downloads: number;
  perSecond: number;
  seed: number;
}

export const CHURN: ChurnOptions = { changes: 30, seconds: 60, downloads: 3000, perSecond: 500, seed: 1 };

const SERVERS = 10;
const INTERVAL_MS = 250;
/** A change is known everywhere within this. */
const KNOWN_MS = 4 * INTERVAL_MS;
const EMPTY_MS = 60_000;

type Standing = 'up' | 'drained' | 'out';

export async function playChurn(o: ChurnOptions = CHURN): Promise<RoutingFigure[]> {
  const shape = { networks: 1, systems: 0, sites: 1, servers: SERVERS };
  const lab = await RoutedLab.create({ name: `churn-${process.pid}`, shape, intervalMs: INTERVAL_MS });
  try {
    return await new Churn(lab, o).play();
  } finally {
    await lab.down();
  }
}

class Churn {
  readonly #random: () => number;
  readonly #standing = new Map<string, Standing>();
  readonly #weights = new Map<string, number>();
  /** Expected connections of each server, by the weights at each moment. */
  readonly #expected = new Map<string, number>();
  /** By server: whether its removal was called off, and its end. */
  readonly #removals = new Map<string, { isOff: boolean; end: Promise<void> }>();
  #worst = 0;
  readonly #done: string[] = [];

  constructor(
    readonly lab: RoutedLab,
    readonly o: ChurnOptions,
  ) {
    this.#random = generator(o.seed);
    for (const { name } of lab.servers) {
      this.#standing.set(name, 'up');
      this.#weights.set(name, 1);
    }
  }

  async play(): Promise<RoutingFigure[]> {
    const { lab, o } = this;
    const downloads = await Downloads.start(lab, o.downloads);
    const client = new Client(lab);
    const fresh = client.connectSteadily(VIRTUAL, 80, o.perSecond * o.seconds, o.perSecond);
    const everyMs = (o.seconds * 1000) / o.changes;
    for (let n = 0; n < o.changes; n++) {
      const begun = performance.now();
      await this.#change(n);
      await pause(KNOWN_MS);
      await this.#look();
      await pause(everyMs - (performance.now() - begun));
    }
    const connections = await fresh;
    client.end();
    const downloaded = await downloads.end();
    await Promise.all([...this.#removals.values()].map((r) => r.end));
    return this.#figures(connections, downloaded);
  }

  /** The servers in a state, in the order of a lot. */
  #those(standing: Standing): string[] {
    const all = [...this.#standing].filter(([, s]) => s === standing).map(([name]) => name);
    return all
      .map((name) => ({ name, lot: this.#random() }))
      .sort((a, b) => a.lot - b.lot)
      .map((x) => x.name);
  }

  async #change(n: number): Promise<void> {
    const kinds = ['weight', 'remove', 'weight', 'drain', 'add', 'resume'] as const;
    const kind = kinds[n % kinds.length];
    const up = this.#those('up');
    if (kind === 'weight') await this.#weigh(up[0], 1 + Math.floor(this.#random() * 4));
    if (kind === 'drain') for (const name of up.slice(0, Math.min(4, up.length - 3))) await this.#drain(name);
    if (kind === 'resume') for (const name of this.#those('drained')) await this.#resume(name);
    if (kind === 'remove' && up.length > 4) await this.#remove(up[0]);
    if (kind === 'add') for (const name of this.#those('out').slice(0, 1)) await this.#add(name);
    this.#done.push(kind);
  }

  async #weigh(name: string, weight: number): Promise<void> {
    const path = this.lab.configFile(name);
    const file = parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    writeFileSync(path, stringify({ ...file, weight }));
    this.lab.signal(name, 'SIGHUP');
    this.#weights.set(name, weight);
  }

  async #drain(name: string): Promise<void> {
    await post(this.lab, name, 'drain');
    this.#standing.set(name, 'drained');
  }
  async #resume(name: string): Promise<void> {
    await post(this.lab, name, 'resume');
    this.#standing.set(name, 'up');
  }

  /** As an operator removes a server: it gets nothing new, and is stopped when its last connection has ended. */
  async #remove(name: string): Promise<void> {
    await post(this.lab, name, 'drain');
    this.#standing.set(name, 'out');
    const isEmpty = async (): Promise<boolean> => {
      const { stdout } = await this.lab.exec(name, [
        'ss',
        '-Htn',
        'state',
        'established',
        `( sport = :80 and src ${VIRTUAL} )`,
      ]);
      return stdout.trim() === '';
    };
    const removal = { isOff: false, end: Promise.resolve() };
    removal.end = (async () => {
      await waitUntil(async () => removal.isOff || (await isEmpty()), EMPTY_MS, 500);
      if (!removal.isOff) await this.lab.stop(name);
    })();
    this.#removals.set(name, removal);
  }

  async #add(name: string): Promise<void> {
    const removal = this.#removals.get(name);
    if (removal !== undefined) removal.isOff = true;
    await removal?.end;
    // One that was not stopped yet is in use again.
    if (this.lab.isRunning(name)) return this.#resume(name);
    this.lab.start(name);
    this.#standing.set(name, 'up');
  }

  /** Compares the slots that the site's router has with the weights that stand in the files. */
  async #look(): Promise<void> {
    const answer = await askJson<{ hosts: { members: { id: string; share: number }[] }[] }>(
      this.lab.adminSocket('t1'),
      '/v1/routes',
    );
    const shares = new Map(answer?.hosts[0].members.map((m) => [m.id, m.share]));
    const up = [...this.#standing].filter(([, s]) => s === 'up').map(([name]) => name);
    // A role that was just started is known after its start, which takes a second of processor time.
    if (up.some((name) => !shares.has(name))) return;
    const total = up.reduce((n, name) => n + this.#weights.get(name)!, 0);
    for (const { name } of this.lab.servers) {
      const wanted = up.includes(name) ? this.#weights.get(name)! / total : 0;
      this.#worst = Math.max(this.#worst, Math.abs((shares.get(name) ?? 0) - wanted));
      this.#expected.set(name, (this.#expected.get(name) ?? 0) + wanted);
    }
  }

  #figures(connections: readonly Connection[], downloaded: Downloaded): RoutingFigure[] {
    const failed = connections.filter((c) => c.servedBy === '').length;
    const looks = [...this.#expected.values()].reduce((a, b) => a + b, 0);
    const served = connections.length - failed;
    const apart = this.lab.servers.map(({ name }) => {
      const had = connections.filter((c) => c.servedBy === name).length / served;
      return Math.abs(had - (this.#expected.get(name) ?? 0) / looks);
    });
    const what = `${this.o.changes} changes in ${this.o.seconds} s (${[...new Set(this.#done)].join(', ')}; seed ${this.o.seed}), ${this.o.downloads} downloads of 20 s at a time, ${this.o.perSecond} new connections a second`;
    const errors = Object.entries(downloaded.errors).map(([e, n]) => `${n} ${e}`);
    return [
      figure(
        'churn',
        { most: 0 },
        {
          value: downloaded.broken + failed,
          what: `broken of ${downloaded.whole + downloaded.broken} downloads (${downloaded.broken}${errors.length > 0 ? `: ${errors.join(', ')}` : ''}) and ${connections.length} new connections (${failed}); ${what}`,
        },
      ),
      figure(
        'churn:shares',
        { most: 2 },
        {
          value: 100 * this.#worst,
          what: `points by which a server's share of slots was off the weights, ${KNOWN_MS} ms after a change, at most`,
        },
      ),
      figure(
        'churn:served',
        { most: 2 },
        {
          value: 100 * Math.max(...apart),
          what: "points by which a server's share of all new connections was off the weights of the whole time, at most",
        },
      ),
    ];
  }
}
