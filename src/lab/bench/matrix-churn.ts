/**
 * `churn`: identities come and go in waves in the life of one gateway, as containers do whose id is new at each start.
 * Each serves a connection, and some flows outlive their machine. At the end the gateway must be as it was before.
 */
import { ask } from '../admin-client.js';
import type { Published } from '../farm.js';
import { machineAddress } from '../farm.js';
import type { DrawnDelays } from '../matrix.js';
import { pause, run, waitUntil } from '../process.js';
import type { Held } from './connect.js';
import { type Bed, type Changes, SERVICE, SERVICE_PORT } from './matrix-bed.js';
import type { Add } from './matrix-changes.js';
import { elementsOn, memoryOf } from './soak-samples.js';

const IDENTITIES = 500;
const WAVE = 25;
/** Machines that stay; they and the origin are farther away than any machine of a wave. */
const STAYING = 5;
const STAYING_MS = 150;
/** The round trips of a wave's machines: the nearest, and one more each. */
const NEAREST_MS = 10;
const STEP_MS = 2;
/** A wave is probed by then. */
const SETTLE_MS = 1500;
/** One identity in so many has a connection that is held until the next wave has ended. */
const HELD_EACH = 5;
const WAVE_TIMEOUT_MS = 40_000;
/** Ended flows stay in the table for four minutes (RFC 5382, REQ-5); then two walks through it, and some time more. */
const END_TIMEOUT_MS = 300_000;
const LOOK_MS = 2000;

/** What a gateway holds, in numbers that must be the same again. */
export interface Account {
  /** `firstack_endpoints`. */
  endpoints: number;
  /** Elements of the nftables sets in the gateway's namespace. */
  elements: number;
  /** Entries of the kernel's map `endpoints`; 0 without the fast path. */
  kernel: number;
  /** `leftOut` of the status, all kinds. */
  leftOut: number;
}

/** What there is more of than before, by kind. */
export function leaked(before: Account, after: Account): Record<string, number> {
  const kinds = Object.keys(before) as (keyof Account)[];
  return Object.fromEntries(
    kinds.filter((k) => after[k] > before[k]).map((k): [string, number] => [k, after[k] - before[k]]),
  );
}

async function accountOf({ lab }: Bed): Promise<Account> {
  const socket = lab.roles.adminSocket('gateway');
  const metrics = (await ask(socket, '/metrics'))?.body ?? '';
  const status = (await lab.roles.status('gateway')) as { leftOut?: Record<string, number> } | undefined;
  const map = `${lab.state.bpfDirectory}/firstack/${lab.roles.instanceOf('gateway')}/maps/endpoints`;
  const dump = await run(['bpftool', '-j', 'map', 'dump', 'pinned', map]);
  return {
    endpoints: Number(/^firstack_endpoints(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1]),
    elements: (await elementsOn(lab, 'gateway')) ?? 0,
    kernel: dump.status === 0 ? (JSON.parse(dump.stdout) as unknown[]).length : 0,
    leftOut: Object.values(status?.leftOut ?? {}).reduce((a, b) => a + b, 0),
  };
}

const rssMb = ({ lab }: Bed): number => (memoryOf(lab.roles.pid('gateway'))?.rss ?? 0) / 1024;

/** The paths: the origin and the machines that stay are far, all others near and no two of a wave alike. */
function paths(machines: readonly string[]): Changes {
  const changes: Changes = {};
  const set = (m: string, ms: number): void => {
    changes[`gateway>${m}`] = changes[`${m}>gateway`] = ms / 2;
  };
  for (const m of ['origin', ...machines.slice(0, STAYING)]) set(m, STAYING_MS);
  machines.slice(STAYING).forEach((m, n) => {
    set(m, NEAREST_MS + STEP_MS * (n % WAVE));
  });
  return changes;
}

export async function churn(bed: Bed, draw: DrawnDelays, add: Add): Promise<void> {
  const { machines } = bed.lab.farm;
  if (machines.length < STAYING + WAVE) {
    add('churn', 'leaked', `needs ${STAYING + WAVE} replicas or more`, '0', 'no');
    return;
  }
  const staying = machines.slice(0, STAYING);
  await bed.take(draw, { count: STAYING, changes: paths(machines) });
  await bed.client.connect(SERVICE, SERVICE_PORT, 20, 4);
  await pause(END_MS);
  const before = await accountOf(bed);
  const rssBefore = rssMb(bed);
  bed.say(`churn: before: ${JSON.stringify(before)}, ${rssBefore.toFixed(0)} MB`);

  const waves = new Waves(bed, staying, machines.slice(STAYING));
  let rssMidway = 0;
  for (let n = 0; n < IDENTITIES / WAVE; n++) {
    await waves.pass(n);
    if (n === IDENTITIES / WAVE / 2) rssMidway = rssMb(bed);
  }
  await bed.lab.farm.publish(staying);
  await waves.endHeld();
  let after = before;
  const begun = performance.now();
  await waitUntil(
    async () => {
      after = await accountOf(bed);
      return Object.keys(leaked(before, after)).length === 0;
    },
    END_TIMEOUT_MS,
    LOOK_MS,
  );
  const seconds = Math.round((performance.now() - begun) / 1000);
  bed.say(`churn: after: ${JSON.stringify(after)}, ${rssMb(bed).toFixed(0)} MB`);

  const all = leaked(before, after);
  const count = Object.values(all).reduce((a, b) => a + b, 0);
  const kinds = Object.entries(all).map(([kind, n]) => `${kind} ${n}`);
  add('churn', ['leaked', ...kinds].join(', '), count, '0', count === 0 ? 'yes' : 'no');
  const { used, failed, held, broken } = waves;
  const mode = `identities that served a connection, of ${IDENTITIES}`;
  add('churn', mode, used.size, String(IDENTITIES), used.size === IDENTITIES ? 'yes' : 'no');
  add('churn', 'failed connections', failed, '0', failed === 0 ? 'yes' : 'no');
  add('churn', 'connections that outlived their machine', held, 'reported', 'reported');
  add('churn', 'of those broken', broken, '0', broken === 0 ? 'yes' : 'no');
  add('churn', 'seconds until all numbers were free again', seconds, 'reported', 'reported');
  add('churn', 'memory of the gateway before, MB', Math.round(rssBefore), 'reported', 'reported');
  add('churn', 'the same after half of the waves, MB', Math.round(rssMidway), 'reported', 'reported');
  add('churn', 'the same at the end, MB', Math.round(rssMb(bed)), 'reported', 'reported');
}
/** The flows of the first connections have left the table by then. */
const END_MS = 20_000;

class Waves {
  readonly used = new Set<string>();
  failed = 0;
  /** Connections over the end of their machine, and those of them that did not answer any more. */
  held = 0;
  broken = 0;
  #held: Held[] = [];

  constructor(
    readonly bed: Bed,
    readonly staying: readonly string[],
    readonly machines: readonly string[],
  ) {}

  /** A wave's identities arrive together, and leave one after another: each when it has served. */
  async pass(n: number): Promise<void> {
    const { farm } = this.bed.lab;
    const whole = Math.floor(this.machines.length / WAVE);
    const first = (n % whole) * WAVE;
    const alive = new Map<string, Published>();
    for (const m of this.machines.slice(first, first + WAVE))
      alive.set(m, { id: `wave-${n}-${m}`, address: machineAddress(m) });
    const before = this.#held;
    this.#held = [];
    const publish = (): Promise<void> => farm.publish([...this.staying, ...alive.values()]);
    await publish();
    await pause(SETTLE_MS);
    const deadline = performance.now() + WAVE_TIMEOUT_MS;
    while (alive.size > 0 && performance.now() < deadline) {
      const served = await this.bed.client.connect(SERVICE, SERVICE_PORT, 2, 2);
      let isLess = false;
      for (const { servedBy } of served) {
        if (servedBy === '') this.failed++;
        const identity = alive.get(servedBy);
        if (identity === undefined) continue;
        this.used.add(identity.id);
        if (this.used.size % HELD_EACH === 0)
          this.#held.push(await this.bed.client.hold(SERVICE, SERVICE_PORT));
        alive.delete(servedBy);
        isLess = true;
      }
      if (isLess) await publish();
    }
    if (alive.size > 0) this.bed.say(`churn: ${alive.size} identities of wave ${n + 1} served nothing`);
    await this.#end(before);
    this.bed.say(`churn: wave ${n + 1}, ${this.used.size} identities used`);
  }

  endHeld(): Promise<void> {
    return this.#end(this.#held);
  }

  async #end(all: readonly Held[]): Promise<void> {
    for (const { servedBy, end } of all) {
      this.held++;
      if (servedBy === '' || (await end()) !== servedBy) this.broken++;
    }
  }
}
