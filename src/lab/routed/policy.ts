/**
 * Policies under load: a signed one is put in force at all levels, and hostile ones are put in its place, past `firstack policy
 * install`, which would refuse them. The routers go on with what they had.
 */
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { type Policy, signPolicy } from '../../policy/signed.js';
import { askJson } from '../admin-client.js';
import { Client, type Connection } from '../bench/connect.js';
import { pause, waitUntil } from '../process.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';
import * as wasm from './wasm.js';

export interface PolicyOptions {
  perSecond: number;
  intervalMs: number;
}

export const POLICY: PolicyOptions = { perSecond: 200, intervalMs: 1000 };

const DAY_MS = 86_400_000;
const keyPair = (): { pem: string; publicPem: string } => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }) as string,
  };
};

interface PolicyState {
  version?: number;
  said: string;
}

export async function playPolicy(o: PolicyOptions = POLICY): Promise<RoutingFigure[]> {
  const operator = keyPair();
  const name = `policy-${process.pid}`;
  const at = `/run/firstack/lab/${name}/policies`;
  const lab = await RoutedLab.create({
    name,
    shape: { networks: 1, systems: 2, sites: 2, servers: 2 },
    intervalMs: o.intervalMs,
    edit: (host, file) =>
      host.level === 'server'
        ? file
        : { ...file, policy: { costFile: `${at}/current`, keyFile: `/run/firstack/lab/${name}/policy.pub` } },
    before: (directory) => {
      mkdirSync(`${directory}/policies`);
      writeFileSync(`${directory}/policy.pub`, operator.publicPem);
    },
  });
  try {
    return await new Play(lab, o, operator.pem).play();
  } finally {
    await lab.down();
  }
}

class Play {
  #version = 0;
  constructor(
    readonly lab: RoutedLab,
    readonly o: PolicyOptions,
    readonly key: string,
  ) {}

  #policy(code: Uint8Array, more: Partial<Policy> = {}): Policy {
    const day = (n: number): string => new Date(Date.now() + n * DAY_MS).toISOString();
    return {
      ...{ v: 1, name: 'bench', version: ++this.#version, kind: 'cost', scope: ['*'] },
      ...{ notBefore: day(-1), notAfter: day(1), code: Buffer.from(code).toString('base64') },
      ...more,
    };
  }

  /** Puts a text where the routers read their policy. */
  #put(text: string): void {
    const directory = `${this.lab.directory}/policies`;
    const file = `${directory}/${Date.now()}-${this.#version}.policy`;
    writeFileSync(file, text);
    symlinkSync(file, `${directory}/next`);
    renameSync(`${directory}/next`, `${directory}/current`);
  }

  async #states(): Promise<PolicyState[]> {
    const all = await Promise.all(
      this.lab.routers.map(async ({ name }) => {
        const status = await this.lab.status(name);
        return (status as unknown as { policies?: PolicyState[] } | undefined)?.policies?.[0];
      }),
    );
    return all.flatMap((s) => (s === undefined ? [] : [s]));
  }

  /** Puts a good one in force. @returns intervals until all routers have it; more than ten where they do not */
  async #good(): Promise<number> {
    const policy = this.#policy(wasm.SUM);
    const begun = performance.now();
    this.#put(signPolicy(policy, this.key));
    const isThere = async (): Promise<boolean> => {
      const states = await this.#states();
      return states.length === this.lab.routers.length && states.every((s) => s.version === policy.version);
    };
    const came = await waitUntil(isThere, 10 * this.o.intervalMs, 50);
    return came ? (performance.now() - begun) / this.o.intervalMs : Number.POSITIVE_INFINITY;
  }

  /** Whether every router gives every member that is there new connections. */
  async #isServing(): Promise<boolean> {
    const all = await Promise.all(
      this.lab.routers.map(({ name }) =>
        askJson<{ hosts: { members: { share: number }[] }[] }>(this.lab.adminSocket(name), '/v1/routes'),
      ),
    );
    return all.every((r) =>
      r?.hosts.every((h) => h.members.length > 0 && h.members.every((m) => m.share > 0)),
    );
  }

  #hostile(): [string, () => string][] {
    const signed = (code: Uint8Array, more: Partial<Policy> = {}): string =>
      signPolicy(this.#policy(code, more), this.key);
    return [
      ['unsigned', () => JSON.stringify(this.#policy(wasm.SUM))],
      ["another's", () => signPolicy(this.#policy(wasm.SUM), keyPair().pem)],
      ['expired', () => signed(wasm.SUM, { notAfter: '2020-01-01T00:00:00Z' })],
      ['changed', () => signed(wasm.SUM).replace('"scope":["*"]', '"scope":["x"]')],
      ['of four gigabytes', () => signed(wasm.GREEDY)],
      ['endless', () => signed(wasm.LOOP)],
      ['trapping', () => signed(wasm.TRAP)],
      ['recursive', () => signed(wasm.DEEP)],
      ['NaN', () => signed(wasm.constant(Number.NaN))],
      ['negative', () => signed(wasm.constant(-1))],
    ];
  }

  async play(): Promise<RoutingFigure[]> {
    const { o, lab } = this;
    const took = [await this.#good()];
    const client = new Client(lab);
    let isDone = false;
    const load = (async (): Promise<Connection[]> => {
      const all: Connection[] = [];
      while (!isDone) all.push(...(await client.connectSteadily(VIRTUAL, 80, o.perSecond, o.perSecond)));
      return all;
    })();
    const uncontained: string[] = [];
    for (const [what, make] of this.#hostile()) {
      this.#put(make());
      await pause(2 * o.intervalMs);
      if (!(await this.#isServing())) uncontained.push(what);
      took.push(await this.#good());
    }
    isDone = true;
    const connections = await load;
    client.end();
    const failed = connections.filter((c) => c.servedBy === '').length;
    return [
      figure(
        'policy',
        { most: 2 },
        {
          value: Math.max(...took),
          what: `intervals until a signed policy was in force at all ${lab.routers.length} routers of three levels, of ${took.length} times; an interval is ${o.intervalMs} ms`,
        },
      ),
      figure(
        'policy:hostile',
        { most: 0 },
        {
          value: uncontained.length,
          what: `of ${this.#hostile().length} hostile ones (${this.#hostile()
            .map(([w]) => w)
            .join(
              ', ',
            )}) that took a member its connections within two intervals${uncontained.length === 0 ? '' : `: ${uncontained.join(', ')}`}`,
        },
      ),
      figure(
        'policy:broken',
        { most: 0 },
        {
          value: failed,
          what: `connections that failed meanwhile, of ${connections.length} at ${o.perSecond} a second`,
        },
      ),
    ];
  }
}
