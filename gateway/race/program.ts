/** The gateway role: tags clients' SYNs, keeps the first acknowledgement, carries the flow to the winner. */

import { FirstackError, type Problem } from '../../src/errors.js';
import type { Attachment, ProgramName } from '../../src/fastpath/kernel.js';
import type { KernelMode } from '../../src/fastpath/modes.js';
import { readKeyFile } from '../../src/keys.js';
import { learnedBytes, PREFIX_BITS, readLearned } from '../../src/proximity/learned.js';
import { proximityRecord, seedsOf } from '../../src/proximity/site.js';
import { type RaceRecord, RECORDED, readRaces, ringBytes } from '../../src/race/record.js';
import type { View } from '../../src/registry/records.js';
import { configurationMismatches, type Duty, type Role, type RoleContext, runRole } from '../../src/role.js';
import type { RoleFlags } from '../../src/role-config.js';
import {
  checkForwardChains,
  checkForwarding,
  checkMasquerade,
  type Host,
  leastMtu,
} from '../../src/steer/host.js';
import { formatV4, overlaps, type Prefix, parsePrefix } from '../../src/wire/address.js';
import { OVERHEAD } from '../../src/wire/ipip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';
import { type GatewayConfig, readGatewayConfig } from './config.js';
import { describeReplica, Fleet } from './fleet.js';
import { type FirstBytes, Outliers } from './outliers.js';
import { FIRST_BYTES, type GatewayPipelineOptions } from './state.js';
import { steering } from './steering.js';

/** Race records that are kept. */
const RACES_KEPT = 4096;
/** Client prefixes, per service, that are remembered. */
const LEARNED_ENTRIES = 8192;
/** SYNs that may wait for their hedge at once. */
const HEDGES = 16384;
/** How often the site is told, and slow machines are looked for. */
const LOOK_MS = 1000;

export async function main(flags: RoleFlags): Promise<number> {
  return runRole(new Gateway(readGatewayConfig(flags)), flags);
}

class Gateway implements Role {
  readonly name = 'gateway';
  readonly module = new URL('./pipeline.js', import.meta.url);
  readonly pipelineOptions: GatewayPipelineOptions;
  // What is held are SYNs, each for as long as its hedge waits.
  readonly holdSlots: number;
  readonly raceBytes = ringBytes(RACES_KEPT);
  readonly learnedBytes: number;
  readonly topics: readonly string[];
  readonly #fleet: Fleet;
  #context: RoleContext | undefined;
  readonly #warned = new Set<string>();
  readonly #outliers = new Outliers();
  #ejected: number[] = [];
  #suspects: number[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(readonly config: GatewayConfig) {
    this.#fleet = new Fleet(config.race);
    this.holdSlots = config.race === 'learned' ? HEDGES : 1;
    this.learnedBytes = config.race === 'origin' ? 0 : learnedBytes(LEARNED_ENTRIES);
    const site = config.site === undefined ? [] : [`proximity:${config.site}`];
    this.topics = ['service', 'replica', 'gateway', 'origin', ...site];
    const file = readKeyFile(config.tag.keyFile, 'gateway');
    if (file.gatewayId !== config.tag.gatewayId)
      throw new FirstackError(
        'FSA_KEY_INVALID',
        `${config.tag.keyFile}: is the key of gateway ${file.gatewayId}, tag.gatewayId is ${config.tag.gatewayId}`,
      );
    const bytes = new DataView(Uint8Array.from(Buffer.from(file.keys[0].secret, 'hex')).buffer);
    this.pipelineOptions = {
      flows: config.flows,
      openings: config.fastpath.openings,
      gatewayId: config.tag.gatewayId,
      keyId: file.keys[0].id,
      key: [0, 4, 8, 12].map((at) => bytes.getInt32(at, true)),
    };
  }

  check(host: Host, view: View): Problem[] {
    const { lan, wan, tun } = this.config;
    const legs = lan.flatMap((l) =>
      wan.flatMap((w) => [
        { iif: l, oif: tun.name },
        { iif: tun.name, oif: w },
        { iif: w, oif: tun.name },
        { iif: tun.name, oif: l },
      ]),
    );
    return [
      ...configurationMismatches(view, undefined, this.config.configuration),
      ...this.#foreignPrefixes(view),
      ...checkForwarding(host),
      ...checkForwardChains(host, legs),
      ...(this.#mayMasquerade(view) ? [] : checkMasquerade(host, wan, this.clients)),
    ];
  }

  /** Under A a race of the gateway's own leaves from one address and comes back to it: translated or not. */
  #mayMasquerade(view: View): boolean {
    return this.config.race !== 'origin' && view.services.every((s) => s.configuration === 'A');
  }

  /** Prefixes belong to one gateway each: the tag's receivers go by them. */
  #foreignPrefixes(view: View): Problem[] {
    return view.gateways
      .filter((g) => g.id !== this.config.tag.gatewayId)
      .flatMap((g) =>
        g.prefixes.flatMap((theirs) =>
          this.config.prefixes
            .filter((ours) => overlaps(parsePrefix(ours) as Prefix, parsePrefix(theirs) as Prefix))
            .map(
              (ours): Problem => ({
                code: 'FSA_PREFIX_OVERLAP',
                message: `prefixes: ${ours} overlaps ${theirs} of gateway ${g.id}`,
              }),
            ),
        ),
      );
  }

  get clients(): Prefix[] {
    return this.config.prefixes.map((p) => parsePrefix(p) as Prefix);
  }

  whyNoFastpath(host: Host): string {
    if (this.config.local)
      return "the programs see what routers forward, and this host's own sockets are clients (local: true)";
    return this.isMasqueraded(host)
      ? 'this host translates sources on the WAN, which only its own stack can do'
      : '';
  }

  isMasqueraded(host: Host): boolean {
    return checkMasquerade(host, this.config.wan, this.clients).length > 0;
  }

  attachments(host: Host): Attachment[] {
    const on = (program: ProgramName) => (name: string) => ({
      interface: name,
      direction: 'ingress' as const,
      program,
      ethernet: host.interfaces.find((i) => i.name === name)?.ethernet !== false,
    });
    const tun = {
      interface: this.config.tun.name,
      direction: 'ingress',
      program: 'gateway_tun',
      ethernet: false,
    } as const;
    return [...this.config.lan.map(on('gateway_lan')), ...this.config.wan.map(on('gateway_wan')), tun];
  }

  duty(host: Host, view: View, kernel: KernelMode): Duty {
    const now = performance.now();
    const ejected = (candidate: number): boolean => this.#outliers.isEjected(candidate, now);
    this.#fleet.update(view, this.config.configuration, ejected);
    this.#sayMismatches(view);
    const wanMtu = this.config.tun.mtu ?? leastMtu(host, this.config.wan);
    const inside = wanMtu - OVERHEAD;
    return {
      steering: steering(this.config, this.#fleet, {
        tunnelMtu: inside,
        masqueraded: this.isMasqueraded(host),
        kernel,
      }),
      snapshot: this.#fleet.snapshot(
        wanMtu,
        inside - ipv4.MIN_HEADER - tcp.MIN_HEADER,
        this.#suspects.reduce((bits, c) => bits | (1 << c), 0),
        seedsOf(view, this.config.tag.gatewayId, this.config.site, this.#fleet),
      ),
      tunMtu: wanMtu,
      names: { ejected: this.#ejected.map((c) => this.#fleet.candidates.idOf(c)) },
    };
  }

  #sayMismatches(view: View): void {
    for (const { code, message } of configurationMismatches(view, undefined, this.config.configuration)) {
      if (this.#warned.has(message)) continue;
      this.#warned.add(message);
      this.#context?.log.error({ code }, `${message}: it is not raced here`);
    }
  }

  async start(context: RoleContext): Promise<void> {
    this.#context = context;
    if (this.config.race !== 'origin') this.#timer = setInterval(() => this.#look(), LOOK_MS);
    context.registry.publish('gateway', {
      v: 1,
      id: this.config.tag.gatewayId,
      prefixes: this.config.prefixes,
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
  }

  /** Once a second: tells the site what was learned, and looks for machines that serve slowly. */
  #look(): void {
    const { plane, registry, log, refresh } = this.#context!;
    const { site } = this.config;
    if (site !== undefined)
      registry.publish(
        'proximity',
        proximityRecord(this.config.tag.gatewayId, site, plane.learned, this.#fleet),
      );
    const totals = new Map<number, FirstBytes>();
    for (let c = 0; c < RECORDED; c++) {
      const at = FIRST_BYTES + 2 * c;
      if (plane.gauges[at] > 0) totals.set(c, { count: plane.gauges[at], sumUs: plane.gauges[at + 1] });
    }
    const now = performance.now();
    const ejectedBefore = this.#ejected;
    for (const candidates of this.#fleet.candidatesByService())
      for (const c of this.#outliers.judge(totals, candidates, now))
        log.warn(
          { replica: this.#fleet.candidates.idOf(c), firstByteMs: this.#outliers.meanMs(c) },
          'serves slowly: not raced for a time',
        );
    this.#ejected = [...totals.keys()].filter((c) => this.#outliers.isEjected(c, now));
    const suspectsBefore = this.#suspects;
    const rtts = leastRoundTrips(plane.learned);
    const rttUs = (c: number): number => rtts.get(c) ?? 0;
    this.#suspects = this.#fleet
      .candidatesByService()
      .flatMap((list) => this.#outliers.suspects(list, now, rttUs));
    if (`${this.#ejected}/${this.#suspects}` !== `${ejectedBefore}/${suspectsBefore}`) refresh();
  }

  status(): Record<string, unknown> {
    return {
      race: this.config.race,
      flows: this.#context?.plane.gauges[0] ?? 0,
      services: this.#fleet.services.map(({ name, address, port, configuration, raced }) => ({
        name,
        address,
        port,
        configuration,
        raced,
      })),
      replicas: this.#context?.registry.view.replicas.map(describeReplica) ?? [],
    };
  }

  /** Measured jitter of two candidates' difference, as the data plane learned it. */
  #jitterUs(service: number, client: number, a: number, b: number): number | null {
    if (this.#context === undefined) return null;
    const prefix = client & (-1 << (32 - PREFIX_BITS));
    const entry = readLearned(this.#context.plane.learned).find(
      (e) => e.service === service && e.prefix === prefix,
    );
    const variation = (c: number): number | undefined =>
      entry?.candidates.find((x) => x.candidate === c && x.samples > 1)?.variationUs;
    const [va, vb] = [variation(a), variation(b)];
    return va === undefined || vb === undefined ? null : Math.round(Math.hypot(va, vb));
  }

  races(count: number): RaceRecord[] {
    if (this.#context === undefined) return [];
    return readRaces(this.#context.plane.races, count, {
      candidate: (slot) => this.#fleet.candidates.idOf(slot),
      service: (n) => this.#fleet.service(n),
      race: this.config.race,
      viewAgeMs: Math.round(this.#context.registry.viewAgeMs),
      jitterUs: (service, client, a, b) => this.#jitterUs(service, client, a, b),
    });
  }

  proximity(): unknown[] {
    if (this.#context === undefined) return [];
    return readLearned(this.#context.plane.learned).map((e) => ({
      service: this.#fleet.service(e.service)?.name ?? '',
      prefix: `${formatV4(e.prefix)}/${PREFIX_BITS}`,
      candidates: e.candidates.map((c) => ({
        id: this.#fleet.candidates.idOf(c.candidate),
        rttMs: c.rttUs / 1000,
        variationMs: c.variationUs / 1000,
        samples: c.samples,
        wins: c.wins,
      })),
    }));
  }
}

/** The least round trip that was learned of each candidate, µs. */
function leastRoundTrips(learned: Float64Array): Map<number, number> {
  const out = new Map<number, number>();
  for (const entry of readLearned(learned))
    for (const { candidate, rttUs, samples } of entry.candidates)
      if (samples > 0) out.set(candidate, Math.min(rttUs, out.get(candidate) ?? rttUs));
  return out;
}
