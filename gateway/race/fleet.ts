/**
 * The gateway's memory of services and machines: it assigns their numbers, and keeps endpoints that have left the
 * registry as long as flows need them.
 */

import { MAX_ENDPOINTS } from '../../src/fastpath/maps.js';
import {
  type CandidateNumber,
  type MachineNumber,
  NO_CANDIDATE,
  type ServiceNumber,
} from '../../src/flow/numbers.js';
import { MOST_RACED, Numbers, ORIGIN, ORIGIN_ID, ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import {
  isServiceUnused,
  isUnused,
  MOST_MACHINES,
  MOST_SERVICES,
  walksOf,
} from '../../src/proximity/usage.js';
import {
  addressFor,
  type Configuration,
  originKind,
  type RaceService,
  raceServices,
  replicaPort,
} from '../../src/race/records.js';
import type { Race } from '../../src/race/release.js';
import { areAllPaired, keyToward } from '../../src/race/tag-senders.js';
import type { View } from '../../src/registry/kinds.js';
import { type Address, parse } from '../../src/wire/address.js';
import { areOutdated, type Contender, nearest } from './contenders.js';
import { Disputes } from './disputes.js';
import {
  formerKey,
  idsByAddress,
  type Judged,
  type KnownEndpoint,
  type KnownService,
  LOAD_STEP,
  MOST_FORMER,
  NOT_JUDGED,
  type Tagging,
} from './known.js';
import { type LeftOut, nothingLeftOut } from './left-out.js';
import { type Offer, offersByService } from './offers.js';

/** The key of an endpoint: its service and machine. */
const placeOf = (service: ServiceNumber, machine: MachineNumber): number => service * MOST_MACHINES + machine;

export class Fleet {
  /** The numbers by which flows name machines. */
  readonly machines = new Numbers<MachineNumber>(MOST_MACHINES);
  /** A machine's measured round trip, µs; undefined while it is not known. */
  rttUsOf: (machine: MachineNumber) => number | undefined = () => undefined;

  readonly #services: KnownService[] = [];
  /** Once all numbers are assigned: those of services that have left and have no flow. */
  #freeServices: ServiceNumber[] = [];
  /** The number of finished walks when numbers of services became short: the data plane counts their flows since. */
  #shortSince: number | undefined;
  /** By service and machine: {@link placeOf}. */
  readonly #endpoints = new Map<number, KnownEndpoint>();
  /** Former endpoints of machines that have moved, by {@link formerKey}. */
  readonly #formers = new Map<string, KnownEndpoint>();
  /**
   * By id of a machine that is in no record any more: the number of finished walks through the flow table when it
   * left.
   */
  readonly #goneSince = new Map<string, number>();
  #leftOut: LeftOut = nothingLeftOut();

  judged: Judged = NOT_JUDGED;

  /**
   * @param usage which candidates and services flows still have (`src/proximity/usage.ts`); without it none is
   * forgotten
   */
  constructor(
    readonly race: Race = 'origin',
    public usage: Float64Array | undefined = undefined,
    readonly disputes = new Disputes([], []),
    readonly tagging: Tagging = { pairs: undefined, hasOwnKey: true },
  ) {}

  /** Takes over the registry's present view. `told` is the configuration of the command-line flag. */
  update(view: View, told: Configuration | undefined, judged: Judged = NOT_JUDGED): void {
    this.judged = judged;
    this.#idsByAddress = undefined;
    this.#candidates = undefined;
    this.#leftOut = nothingLeftOut();
    for (const s of this.#services) s.raced = false;
    for (const e of this.#endpoints.values()) {
      e.up = false;
      e.live = false;
      e.trials = 0;
    }
    const services = raceServices(view).filter(
      (s) => (told === undefined || s.configuration === told) && this.disputes.ofService(s) === '',
    );
    const offers = offersByService(view);
    this.#noteGone(new Set(services.flatMap((s) => (offers.get(s.name) ?? []).map((o) => o.replica.id))));
    this.#forgetUnused();
    this.#noteGoneServices(services);
    const numbered = services.flatMap((service) => this.#numberAll(service));
    // The origins' endpoints come first: at the limit, a service without replicas is then still served.
    for (const { n, service, port } of numbered)
      this.#know(n, ORIGIN_MACHINE, ORIGIN_ID, service.address, port, {
        ...{ candidate: ORIGIN, up: true, live: true, trials: 0, load: 0 },
      });
    const origins = view.of(originKind);
    const mayPair = this.race === 'origin' && areAllPaired(view);
    for (const { n, service, port } of numbered) {
      const origin = origins.find((o) => o.services.includes(service.name));
      const alive = !view.tells(originKind) || origin !== undefined;
      const known = this.#services[n];
      known.release = origin?.release ?? null;
      known.key = mayPair && origin !== undefined ? keyToward(origin, this.tagging.pairs) : undefined;
      const live = this.#replicas(view, offers.get(service.name) ?? [], n, port);
      // A gateway's own race does not need a running origin role.
      // A service that is not replicable may have a remote server: only the origin's copy of a tagged SYN reaches it.
      const remote = this.race === 'origin' && service.servers?.some((x) => x.replica !== undefined) === true;
      const mayTag = this.race !== 'origin' || this.tagging.hasOwnKey || known.key !== undefined;
      known.raced = mayTag && (alive || this.race !== 'origin') && (service.replicable || remote) && live;
    }
    this.#isReselecting = false;
  }

  #numberAll(service: RaceService): { n: ServiceNumber; service: RaceService; port: number }[] {
    return service.ports.flatMap((port) => {
      const n = this.#number(service, port);
      return n === undefined ? [] : [{ n, service, port }];
    });
  }

  /** A machine that no record names any more is forgotten once its flows have ended. */
  #noteGone(named: ReadonlySet<string>): void {
    if (this.usage === undefined) return;
    const now = walksOf(this.usage);
    for (const id of this.#goneSince.keys()) if (named.has(id)) this.#goneSince.delete(id);
    for (const { id, machine } of this.endpoints)
      if (machine !== ORIGIN_MACHINE && !named.has(id) && !this.#goneSince.has(id))
        this.#goneSince.set(id, now);
  }

  #forgetUnused(): void {
    if (this.usage === undefined || this.#goneSince.size === 0) return;
    const unused = new Set<string>();
    for (const [id, since] of this.#goneSince) {
      const machine = this.machines.find(id);
      if (machine !== undefined && !isUnused(this.usage, machine, since)) continue;
      this.#goneSince.delete(id);
      this.machines.release(id);
      for (const { candidates } of this.#services) candidates.release(id);
      unused.add(id);
    }
    if (unused.size === 0) return;
    this.#deleteWhere(({ id, machine }) => machine !== ORIGIN_MACHINE && unused.has(id));
  }

  /** A service's number is free once no record names the service and its flows have ended. */
  #noteGoneServices(services: readonly RaceService[]): void {
    const { usage } = this;
    if (usage === undefined) return;
    const named = new Set(services.flatMap((s) => s.ports.map((port) => `${s.address} ${port}`)));
    const now = walksOf(usage);
    for (const s of this.#services)
      s.goneSince = named.has(`${s.address} ${s.port}`) ? undefined : (s.goneSince ?? now);
    if (this.#services.length < MOST_SERVICES) return;
    this.#shortSince ??= now;
    // One walk more: the data plane learns of the shortage a moment later.
    const counted = this.#shortSince + 1;
    const numbers = this.#services.map((_, n) => n as ServiceNumber);
    this.#freeServices = numbers.filter((n) => {
      const { goneSince } = this.#services[n];
      return goneSince !== undefined && isServiceUnused(usage, n, Math.max(goneSince, counted));
    });
  }

  /**
   * Whether numbers of machines, or of services that are needed for others, may become free soon: then the caller
   * should {@link update} again after a while.
   */
  get isForgetting(): boolean {
    const isShort = this.#leftOut.services.size > 0;
    return this.#goneSince.size > 0 || (isShort && this.#services.some((s) => s.goneSince !== undefined));
  }

  /** Adds the replicas of a service. @returns whether one of them takes part in races */
  #replicas(view: View, offers: readonly Offer[], n: ServiceNumber, port: number): boolean {
    let any = false;
    const undisputed = offers.filter(({ replica }) => this.disputes.ofReplica(view, replica) === undefined);
    this.#nameCandidates(n, undisputed);
    const { candidates } = this.#services[n];
    for (const { replica, offer } of undisputed) {
      const machine = this.#machineOf(replica.id);
      if (machine === undefined) {
        this.#leftOut.machines.add(replica.id);
        continue;
      }
      const candidate = candidates.find(replica.id) ?? NO_CANDIDATE;
      const up = replica.state === 'up';
      const ordered = candidate < 0 ? undefined : this.judged.trialsOf(n, candidate);
      const live = up && ordered === undefined;
      const load = Math.round(Math.min(1, replica.load) / LOAD_STEP) * LOAD_STEP;
      const place = replicaPort(offer, port);
      const address = addressFor(this.#services[n], replica);
      // It cannot be reached in the service's family.
      if (address === undefined) continue;
      const key = keyToward(replica, this.tagging.pairs);
      if (key === undefined && this.#needsKey(n)) {
        if (up) this.#leftOut.keyless.add(replica.id);
        continue;
      }
      const state = { candidate, up, live, load, trials: up ? (ordered ?? 0) : 0, key };
      if (!this.#know(n, machine, replica.id, address, place, state)) continue;
      // An ejected machine gets its trials also where no other replica is left.
      any ||= state.up;
      if (live && candidate < 0 && this.race !== 'origin') this.#leftOut.replicas.add(replica.id);
    }
    return any;
  }

  /** Whether packets to a service's replicas need a tag that only a key of the pair can make. */
  #needsKey(n: ServiceNumber): boolean {
    return this.race !== 'origin' && !this.tagging.hasOwnKey && this.#services[n].configuration !== 'A';
  }

  /** The machine's number; undefined when all are assigned. */
  #machineOf(id: string): MachineNumber | undefined {
    return this.machines.find(id) ?? (this.machines.isFull ? undefined : this.machines.numberOf(id));
  }

  /** Gives numbers in the service's races to those machines that should be asked, in the place of others if needed. */
  #nameCandidates(n: ServiceNumber, offers: readonly Offer[]): void {
    const { candidates } = this.#services[n];
    // Where all numbers are given, others get one when it is time for it: see {@link isOutdated}.
    const isIdle = ({ replica: { id, state } }: Offer): boolean =>
      state !== 'up' && candidates.find(id) !== undefined;
    const isSettled = !this.#isReselecting && this.#goneSince.size === 0;
    if (candidates.isFull && isSettled && !offers.some(isIdle)) return;
    const wanted = this.#wanted(n, offers);
    const needed = [...wanted].filter((id) => candidates.find(id) === undefined);
    if (needed.length === 0) return;
    const others = [...candidates.ids].filter((id) => !wanted.has(id) && id !== ORIGIN_ID);
    for (const id of needed) {
      if (candidates.isFull) candidates.release(others.shift()!);
      candidates.numberOf(id);
    }
    for (const e of this.#endpoints.values())
      if (e.service === n && e.machine !== ORIGIN_MACHINE)
        e.candidate = candidates.find(e.id) ?? NO_CANDIDATE;
  }

  #wanted(n: ServiceNumber, offers: readonly Offer[]): Set<string> {
    const { candidates } = this.#services[n];
    const contenders = offers
      .filter(({ replica }) => replica.state === 'up' && addressFor(this.#services[n], replica) !== undefined)
      .map(({ replica: { id } }): Contender => {
        const machine = this.machines.find(id);
        const candidate = candidates.find(id);
        return {
          id,
          rttUs: machine === undefined ? undefined : this.rttUsOf(machine),
          isCandidate: candidate !== undefined,
          isEjected: candidate !== undefined && this.judged.trialsOf(n, candidate) !== undefined,
        };
      });
    return nearest(contenders, MOST_RACED - 1, this.#turn);
  }
  #turn = 0;
  /** Whether the next {@link update} looks for nearer machines, for services whose numbers are all given too. */
  #isReselecting = true;

  /**
   * Whether other machines should be candidates than those that are: then the caller should {@link update} again. Whether
   * one is a little nearer than the last of 31 is worth nothing, as a race asks a few.
   * @param turn rises with time (`contenders.ts`)
   */
  isOutdated(turn = this.#turn): boolean {
    if (this.race === 'origin') return false;
    const hasTurned = turn !== this.#turn;
    this.#turn = turn;
    this.#isReselecting ||= areOutdated(this.#endpoints.values(), this.#services, this.rttUsOf, hasTurned);
    return this.#isReselecting;
  }

  #number({ name, address, configuration }: RaceService, port: number): ServiceNumber | undefined {
    const known = this.#services.findIndex((s) => s.address === address && s.port === port);
    if (known >= 0) {
      Object.assign(this.#services[known], { name, configuration });
      return known as ServiceNumber;
    }
    const isNew = this.#services.length < MOST_SERVICES;
    const n = isNew ? (this.#services.length as ServiceNumber) : this.#freeServices.pop();
    if (n === undefined) {
      this.#leftOut.services.add(name);
      return undefined;
    }
    if (!isNew) this.#deleteWhere((e) => e.service === n);
    const since = isNew ? 0 : this.machines.nextRace();
    const candidates = new Numbers<CandidateNumber>(MOST_RACED);
    candidates.nextRace = () => this.machines.nextRace();
    const rest = { release: null, raced: false, since, goneSince: undefined, candidates };
    this.#services[n] = { name, address, port, configuration, ...rest };
    return n;
  }

  /** @returns false when there is no room for another endpoint */
  #know(
    service: ServiceNumber,
    machine: MachineNumber,
    id: string,
    address: string,
    port: number,
    state: Pick<KnownEndpoint, 'candidate' | 'up' | 'live' | 'load' | 'trials' | 'key'>,
  ): boolean {
    const place = placeOf(service, machine);
    const before = this.#endpoints.get(place);
    if (before !== undefined && before.address === address && before.port === port && before.id === id) {
      Object.assign(before, state);
      return true;
    }
    if (before === undefined && this.endpointCount >= MAX_ENDPOINTS) {
      this.#leftOut.machines.add(id);
      return false;
    }
    if (before !== undefined) this.#keepFormer(before);
    this.#formers.delete(formerKey({ service, machine, address, port }));
    const words = parse(address) as Address;
    this.#endpoints.set(place, { service, machine, id, address, words, port, ...state });
    return true;
  }

  /** A machine that moved to another address or port still carries connections at the former one. */
  #keepFormer(e: KnownEndpoint): void {
    const formers = [...this.#formers].filter(([, x]) => x.service === e.service && x.machine === e.machine);
    if (formers.length >= MOST_FORMER) this.#formers.delete(formers[0][0]);
    if (this.endpointCount >= MAX_ENDPOINTS) return;
    this.#formers.set(formerKey(e), { ...e, up: false, live: false, trials: 0, isFormer: true });
  }

  #deleteWhere(isGone: (e: KnownEndpoint) => boolean): void {
    for (const [place, e] of this.#endpoints) if (isGone(e)) this.#endpoints.delete(place);
    for (const [key, e] of this.#formers) if (isGone(e)) this.#formers.delete(key);
  }

  /** The machine that is, or was in this race, a candidate of a service. */
  candidateId(n: number, candidate: number, race = Number.POSITIVE_INFINITY): string {
    return this.#services[n]?.candidates.idOf(candidate, race) ?? `#${candidate}`;
  }

  /** Forgets the machines that numbers meant in races before this one. */
  forgetBefore(race: number): void {
    this.machines.forgetBefore(race);
    for (const { candidates } of this.#services) candidates.forgetBefore(race);
  }

  /** The service that a number means now, or meant in this race. */
  service(n: number, race = Number.POSITIVE_INFINITY): KnownService | undefined {
    const service = this.#services[n];
    return service !== undefined && service.since <= race ? service : undefined;
  }
  get services(): readonly KnownService[] {
    return this.#services;
  }
  /** Services and machines that exceed a limit, as of the last {@link update}. */
  get leftOut(): LeftOut {
    return this.#leftOut;
  }
  get endpoints(): Iterable<KnownEndpoint> {
    if (this.#formers.size === 0) return this.#endpoints.values();
    return [...this.#endpoints.values(), ...this.#formers.values()];
  }
  /** The ids of the replicas that are up, by address. */
  get idsByAddress(): ReadonlyMap<string, ReadonlySet<string>> {
    this.#idsByAddress ??= idsByAddress(this.endpoints);
    return this.#idsByAddress;
  }
  /** Made when it is asked for. */
  #idsByAddress: ReadonlyMap<string, ReadonlySet<string>> | undefined;

  get endpointCount(): number {
    return this.#endpoints.size + this.#formers.size;
  }

  /** The candidates of each service that are up: the origin, and ejected ones too. */
  candidatesByService(): readonly (readonly CandidateNumber[])[] {
    if (this.#candidates !== undefined) return this.#candidates;
    const lists: CandidateNumber[][] = this.#services.map(() => []);
    for (const e of this.#endpoints.values())
      if (e.up && e.candidate >= 0) lists[e.service].push(e.candidate);
    this.#candidates = lists;
    return lists;
  }
  #candidates: readonly (readonly CandidateNumber[])[] | undefined;

  usesTunnel(): boolean {
    return this.#services.some((s) => s.configuration === 'C');
  }
}
