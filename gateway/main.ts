/** The gateway role: tags clients' SYNs, keeps the first acknowledgement, carries the flow to the winner. */
import { FirstackError, type Problem } from '../src/errors.js';
import { readKeyFile } from '../src/keys.js';
import { type RaceRecord, readRaces, ringBytes } from '../src/race/record.js';
import type { View } from '../src/registry/records.js';
import {
  configurationMismatches,
  type Duty,
  type Role,
  type RoleContext,
  type RoleFlags,
  runRole,
} from '../src/role.js';
import {
  checkForwardChains,
  checkForwarding,
  checkMasquerade,
  type Host,
  leastMtu,
} from '../src/steer/host.js';
import { overlaps, type Prefix, parsePrefix } from '../src/wire/address.js';
import { OVERHEAD } from '../src/wire/ipip.js';
import * as ipv4 from '../src/wire/ipv4.js';
import * as tcp from '../src/wire/tcp.js';
import { type GatewayConfig, readGatewayConfig } from './config.js';
import { describeReplica, Fleet } from './fleet.js';
import type { GatewayPipelineOptions } from './state.js';
import { steering } from './steering.js';

/** Race records that are kept. */
const RACES_KEPT = 4096;

export async function main(flags: RoleFlags): Promise<number> {
  return runRole(new Gateway(readGatewayConfig(flags)), flags);
}

class Gateway implements Role {
  readonly name = 'gateway';
  readonly module = new URL('./pipeline.js', import.meta.url);
  readonly pipelineOptions: GatewayPipelineOptions;
  // A gateway holds nothing back; the queue has its least size.
  readonly holdSlots = 1;
  readonly raceBytes = ringBytes(RACES_KEPT);
  readonly #fleet = new Fleet();
  #context: RoleContext | undefined;
  readonly #warned = new Set<string>();

  constructor(readonly config: GatewayConfig) {
    const file = readKeyFile(config.tag.keyFile, 'gateway');
    if (file.gatewayId !== config.tag.gatewayId)
      throw new FirstackError(
        'FSA_KEY_INVALID',
        `${config.tag.keyFile}: is the key of gateway ${file.gatewayId}, tag.gatewayId is ${config.tag.gatewayId}`,
      );
    const bytes = new DataView(Uint8Array.from(Buffer.from(file.keys[0].secret, 'hex')).buffer);
    this.pipelineOptions = {
      flows: config.flows,
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
      ...checkMasquerade(host, wan),
    ];
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

  duty(host: Host, view: View): Duty {
    this.#fleet.update(view, this.config.configuration);
    this.#sayMismatches(view);
    const wanMtu = this.config.tun.mtu ?? leastMtu(host, this.config.wan);
    const tunnelled = this.#fleet.usesTunnel();
    const inside = wanMtu - OVERHEAD;
    return {
      steering: steering(this.config, this.#fleet, inside),
      snapshot: this.#fleet.snapshot(wanMtu, inside - ipv4.MIN_HEADER - tcp.MIN_HEADER),
      offload: !tunnelled,
      tunMtu: wanMtu,
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
    context.registry.publish('gateway', {
      v: 1,
      id: this.config.tag.gatewayId,
      prefixes: this.config.prefixes,
    });
  }

  async stop(): Promise<void> {}

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

  races(count: number): RaceRecord[] {
    if (this.#context === undefined) return [];
    return readRaces(this.#context.plane.races, count, {
      candidate: (slot) => this.#fleet.candidates.idOf(slot),
      service: (n) => this.#fleet.service(n),
      race: this.config.race,
      viewAgeMs: Math.round(this.#context.registry.viewAgeMs),
    });
  }
}
