/**
 * Decides twice a second which machines are not raced, for each service, from what the data plane has seen them do
 * (`service-judge.ts` has the rules), and says each change with its figures.
 */
import type { Metric } from '../../src/admin/metrics.js';
import type { Events, Level } from '../../src/events/events.js';
import type { CandidateNumber, ServiceNumber } from '../../src/flow/numbers.js';
import { MOST_RACED } from '../../src/proximity/candidates.js';
import { readLearned } from '../../src/proximity/learned-table.js';
import type { Pace } from './ejections.js';
import { evidence, rowOf, SHOWN } from './evidence.js';
import type { Failing } from './failures.js';
import type { Fleet } from './fleet.js';
import { machineMetrics } from './machine-metrics.js';
import { rate, total } from './outcomes.js';
import type { Slow } from './outliers.js';
import { ServiceJudge, type Verdict } from './service-judge.js';
import { type Asked, Silence, type Silent } from './silence.js';

/** Outcomes within seconds that say something of a whole service; the share of failures of every machine at which it is
 * broken, and the share of all together at which it works again. */
const BROKEN = 10;
const BROKEN_RATE = 0.5;
const WORKS_AGAIN = 0.2;

/** An event that is said once the data plane acts by it. */
type Saying = Parameters<Events['say']>;

interface Known {
  judge: ServiceJudge;
  silence: Silence;
  /** SYNs to all machines of the service, at the last look. */
  used: number;
  /** Whether every machine of the service fails alike. */
  isBroken: boolean;
  /** Address and port: a number that means another service has no history. */
  identity: string;
  /** By candidate: which machine of those that had the number it was at the last look. */
  generations: number[];
}

/** Of more services than this, quiet ones are not looked at each time, but in turn: each in so many looks at the latest. */
const QUIET_SERVICES = 25;
const QUIET_TURNS = 4;

export class Judge {
  readonly #known: Known[] = [];
  #turn = 0;
  #unsaid: Saying[] = [];

  constructor(
    readonly fleet: Fleet,
    readonly events: Pick<Events, 'say'>,
    readonly pace: Pace,
    /** Wall clock, ms; the judge itself goes by the monotonic one. */
    readonly wallMs: () => number = Date.now,
  ) {}

  /** How many trials were ordered for a machine that is ejected from a service's races; undefined while it is raced. */
  trialsOf(service: ServiceNumber, candidate: CandidateNumber): number | undefined {
    return this.#known[service]?.judge.ejections.get(candidate)?.ordered;
  }

  /** One bit for each candidate that some connections of a service avoid. */
  suspectsOf(service: ServiceNumber): number {
    return this.#known[service]?.judge.suspects.reduce((bits, c) => bits | (1 << c), 0) ?? 0;
  }

  /** Ids of the machines that are not raced for one service at least. */
  get ejectedIds(): string[] {
    const all = this.#known.flatMap(({ judge }, n) =>
      judge.ejections.all.map((c) => this.fleet.candidateId(n, c)),
    );
    return [...new Set(all)];
  }

  /**
   * @param table the data plane's counters
   * @returns whether what the data plane should do has changed
   */
  look(table: Float64Array, learned: Float64Array, nowMs: number): boolean {
    const before = this.#orders();
    const lists = this.fleet.candidatesByService();
    const row = (n: number, c: CandidateNumber): Float64Array =>
      table.subarray(rowOf(n, c), rowOf(n, c) + evidence.stride);
    this.#followServices(row);
    let rtts: Map<string, number> | undefined;
    const rttUs = (n: number, c: CandidateNumber): number => {
      rtts ??= leastRoundTrips(learned);
      return rtts.get(`${n}/${c}`) ?? 0;
    };
    const every = Math.min(QUIET_TURNS, Math.ceil(lists.length / QUIET_SERVICES));
    this.#turn++;
    lists.forEach((raced, n) => {
      const { judge } = this.#known[n];
      if ((this.#turn + n) % every !== 0 && judge.isQuiet(nowMs)) return;
      const verdicts = judge.look(raced, nowMs, (c) => rttUs(n, c));
      for (const v of verdicts) this.#say(n, judge, v, nowMs);
      this.#sayWhole(n, raced);
      this.#lookForSilence(table, n, raced, nowMs);
    });
    return this.#orders() !== before;
  }

  /** Says what has changed, now that the data plane acts by it. */
  performed(): void {
    for (const saying of this.#unsaid.splice(0)) this.events.say(...saying);
  }

  #orders(): string {
    return this.#known
      .map(
        ({ judge }) =>
          `${judge.suspects};${judge.ejections.all.map((c) => `${c}:${judge.ejections.get(c)!.ordered}`)}`,
      )
      .join('/');
  }

  /** A number that now belongs to another service or machine has no history. */
  #followServices(row: (n: number, c: CandidateNumber) => Float64Array): void {
    this.fleet.services.forEach(({ address, port }, n) => {
      const identity = `${address} ${port}`;
      if (this.#known[n]?.identity === identity) return;
      const isNew = this.#known[n] === undefined;
      const judge = new ServiceJudge(this.pace, (c) => row(n, c));
      const generations: number[] = [];
      this.#known[n] = { judge, silence: new Silence(), used: 0, isBroken: false, identity, generations };
      if (isNew) return;
      for (let c = 0 as CandidateNumber; c < MOST_RACED; c++) judge.forget(c);
    });
    this.fleet.services.forEach(({ candidates }, n) => {
      const { judge, generations } = this.#known[n];
      for (let c = 0 as CandidateNumber; c < MOST_RACED; c++) {
        const generation = candidates.generationOf(c);
        if ((generations[c] ?? 0) !== generation) judge.forget(c);
        generations[c] = generation;
      }
    });
  }

  #say(n: number, judge: ServiceJudge, v: Verdict, nowMs: number): void {
    const service = this.fleet.service(n)?.name ?? '';
    const id = this.fleet.candidateId(n, v.candidate);
    const say = (level: Level, kind: string, message: string, figures?: Record<string, unknown>): void => {
      this.#unsaid.push([level, kind, `${service}/${id}`, message, figures]);
    };
    if (v.what === 'back') say('info', 'back', `${id} is raced again for ${service}: its trials succeeded`);
    // Trials that follow a good one quickly are not said.
    else if (v.what === 'trial' && judge.ejections.get(v.candidate)?.goodTrials === 0)
      say('info', 'trial', `${id} is given one connection of ${service}, as a trial`);
    else if (v.what === 'fails' || v.what === 'slow') {
      const [message, figures] = v.what === 'fails' ? wordsOfFailing(v.failing) : wordsOfSlow(v.slow);
      const nextTrialMs = v.nextMs - nowMs;
      say('warn', 'ejected', `${id} is not raced for ${service}: ${message}`, { ...figures, nextTrialMs });
    }
  }

  /** A service that was not used since the last look costs one number per machine. */
  #lookForSilence(
    table: Float64Array,
    n: number,
    candidates: readonly CandidateNumber[],
    nowMs: number,
  ): void {
    const known = this.#known[n];
    const used = candidates.reduce((all, c) => all + table[rowOf(n, c) + evidence.asked], 0);
    if (used === known.used) return;
    known.used = used;
    const asked = new Map(candidates.map((c) => [c, askedOf(table, rowOf(n, c))]));
    for (const s of known.silence.look(asked, nowMs)) this.#saySilent(n, s);
  }

  #saySilent(n: number, { candidate, what, asked, others }: Silent): void {
    const [service, id] = [this.fleet.service(n)?.name ?? '', this.fleet.candidateId(n, candidate)];
    if (what === 'answers-again')
      return this.events.say('info', what, `${service}/${id}`, `${id} answers SYNs of ${service} again`);
    const message = `${id} is up and answers no SYN of ${service}: 0 of ${asked} (others: ${others} answered meanwhile): is its host cut off, or does the path drop the form in which it is asked (configuration ${this.fleet.service(n)?.configuration})?`;
    this.events.say('warn', what, `${service}/${id}`, message, { asked, others });
  }

  /** A service whose machines all fail alike has no failing machine: then the site or the application is broken. */
  #sayWhole(n: number, candidates: readonly CandidateNumber[]): void {
    const known = this.#known[n];
    const whole = known.judge.whole(candidates);
    if (whole === undefined || total(whole.all) < BROKEN) return;
    const isBroken = known.isBroken ? rate(whole.all) > WORKS_AGAIN : whole.leastRate >= BROKEN_RATE;
    if (isBroken === known.isBroken) return;
    known.isBroken = isBroken;
    const service = this.fleet.service(n)?.name ?? '';
    const figures = `${whole.all.bad} of ${total(whole.all)} requests had no first byte`;
    if (isBroken)
      this.events.say('error', 'service-fails', service, `${service} fails on every machine: ${figures}`);
    else this.events.say('info', 'service-works', service, `${service} works again: ${figures}`);
  }

  /** For `/v1/status`: each machine of each service, its counters and its state. */
  report(table: Float64Array, nowMs: number): Record<string, unknown>[] {
    return this.#machines().map(({ service, port, id, n, c, judge }) => {
      const e = judge?.ejections.get(c);
      const row = rowOf(n, c);
      const counters = Object.fromEntries(SHOWN.map((what) => [what, table[row + evidence[what]]]));
      const sumUs = table[row + evidence.sumUs];
      const isSilent = this.#known[n]?.silence.isSilent(c) === true;
      const live = isSilent ? 'silent' : judge?.suspects.includes(c) === true ? 'suspect' : 'live';
      const state = e === undefined ? live : 'ejected';
      return {
        ...{ service, port, id, state },
        ...(e === undefined
          ? {}
          : {
              why: e.why,
              since: new Date(this.wallMs() - (nowMs - e.sinceMs)).toISOString(),
              nextTrialMs: Math.max(0, Math.round(e.nextMs - nowMs)),
              goodTrials: e.goodTrials,
            }),
        ...counters,
        silent: Math.max(0, counters.asked - counters.answered - counters.refused),
        firstByteSumMs: sumUs / 1000,
        firstByteMs: counters.firstBytes === 0 ? null : Math.round(sumUs / counters.firstBytes / 100) / 10,
      };
    });
  }

  metrics(table: Float64Array): Metric[] {
    const machines = this.#machines().map(({ judge, ...m }) => ({
      ...m,
      isEjected: judge?.ejections.get(m.c) !== undefined,
    }));
    return machineMetrics(machines, table);
  }

  #machines(): {
    service: string;
    port: number;
    id: string;
    n: number;
    c: CandidateNumber;
    judge?: ServiceJudge;
  }[] {
    return this.fleet.candidatesByService().flatMap((list, n) => {
      const { name: service, port } = this.fleet.services[n];
      return list.map((c) => ({
        ...{ service, port, n, c, id: this.fleet.candidateId(n, c) },
        judge: this.#known[n]?.judge,
      }));
    });
  }
}

const askedOf = (table: Float64Array, row: number): Asked => ({
  asked: table[row + evidence.asked],
  answered: table[row + evidence.answered] + table[row + evidence.refused],
});

function wordsOfFailing({
  own,
  others,
  groups,
}: Failing): [message: string, figures: Record<string, unknown>] {
  const message = `${own.bad} of ${total(own)} requests had no first byte (others: ${others.bad} of ${total(others)})`;
  return [message, { own, others, clientGroups: groups }];
}

function wordsOfSlow({ meanUs, typicalUs }: Slow): [message: string, figures: Record<string, unknown>] {
  const [firstByteMs, othersMs] = [meanUs, typicalUs].map((us) => Math.round(us / 1000));
  return [`its first byte takes ${firstByteMs} ms (others: ${othersMs} ms)`, { firstByteMs, othersMs }];
}

/** The least learned round trip of each candidate, µs, by `service/candidate`. */
function leastRoundTrips(learned: Float64Array): Map<string, number> {
  const out = new Map<string, number>();
  for (const { service, candidates } of readLearned(learned))
    for (const { candidate, rttUs, samples } of candidates) {
      const key = `${service}/${candidate}`;
      if (samples > 0) out.set(key, Math.min(rttUs, out.get(key) ?? rttUs));
    }
  return out;
}
