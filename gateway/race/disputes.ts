/** What records claim that is not theirs: what another machine holds, or an address of this gateway's own network. */
import type { Problem } from '../../src/errors.js';
import { Holders } from '../../src/race/holders.js';
import {
  gatewayKind,
  type RaceService,
  type ReplicaRecord,
  raceServices,
  replicaKind,
} from '../../src/race/records.js';
import type { View } from '../../src/registry/kinds.js';
import { type Address, contains, overlaps, type Prefix, parse, parsePrefix } from '../../src/wire/address.js';

export class Disputes {
  readonly #holders = new Holders();

  /** @param own the addresses of this host's interfaces to others */
  constructor(
    readonly clients: readonly Prefix[],
    public own: readonly string[],
  ) {}

  /** Why a service is not raced here; '' where it is. */
  ofService({ name, address }: Pick<RaceService, 'name' | 'address'>): string {
    if (this.own.includes(address)) return `service ${name}: ${address} is an address of this host`;
    const isClient = this.clients.some((p) => contains(p, parse(address) as Address));
    return isClient ? `service ${name}: ${address} is in the clients' prefixes` : '';
  }

  /** Why a replica is not raced; undefined where it is. */
  ofReplica(view: View, replica: ReplicaRecord): string | undefined {
    return this.#holders.conflictOf(view, replica);
  }

  /**
   * @param gatewayId of this gateway
   * @param prefixes of its clients, as others see them
   */
  problems(view: View, gatewayId: number, prefixes: readonly string[]): Problem[] {
    const services = raceServices(view).map((s) => this.ofService(s));
    const replicas = view.of(replicaKind).flatMap((r) => {
      const why = this.ofReplica(view, r);
      return why === undefined ? [] : [`replica ${r.id}: ${why}`];
    });
    const taken = (message: string): Problem => ({ code: 'FSA_ENDPOINT_TAKEN', message });
    return [
      ...overlapping(view, gatewayId, prefixes),
      ...[...services.filter((why) => why !== ''), ...replicas].map(taken),
    ];
  }
}

/** Each prefix belongs to one gateway, because the tag's receivers check it. */
function overlapping(view: View, gatewayId: number, prefixes: readonly string[]): Problem[] {
  const parsed = (text: string): Prefix => parsePrefix(text) as Prefix;
  return view
    .of(gatewayKind)
    .filter((g) => g.id !== gatewayId)
    .flatMap((g) =>
      g.prefixes.flatMap((theirs) =>
        prefixes
          .filter((ours) => overlaps(parsed(ours), parsed(theirs)))
          .map(
            (ours): Problem => ({
              code: 'FSA_PREFIX_OVERLAP',
              message: `prefixes: ${ours} overlaps ${theirs} of gateway ${g.id}`,
            }),
          ),
      ),
    );
}
