/** The keys by which a replica knows who made a tag or a probe. */
import { gatewayKeys, type KeyFile, probeKey } from '../../src/keys.js';
import type { ProbeKeys } from '../../src/probe/responder.js';
import type { KeyringGateway, KeyWords } from '../../src/race/keyring.js';
import { originsOf, type Receiver, tagSenders } from '../../src/race/tag-senders.js';
import type { View } from '../../src/registry/kinds.js';
import type { Credential } from '../../src/trust/credential.js';
import { coversAddresses } from '../../src/trust/scope.js';
import type { SipKey } from '../../src/wire/siphash.js';

/** The gateways whose derived keys are remembered. */
const MOST_GATEWAYS = 4096;
/** The addresses whose origins' keys are remembered. */
const MOST_ADDRESSES = 1024;

export class SenderKeys implements ProbeKeys {
  readonly #master: KeyFile | undefined;
  readonly #probeKeys: readonly SipKey[];
  readonly #derived = new Map<number, KeyWords[]>();
  /** Of the last view: by id of the gateway, and the origins. */
  #ofGateways = new Map<number, readonly KeyWords[]>();
  #origins: readonly Credential[] = [];
  /** By address, since the last view. */
  readonly #ofOrigins = new Map<string, readonly SipKey[]>();

  constructor(readonly receiver: Receiver) {
    this.#master = receiver.master;
    this.#probeKeys = this.#master === undefined ? [] : [probeKey(this.#master)];
  }

  /** Takes over the registry's view. @returns the gateways whose tags are read */
  update(view: View): KeyringGateway[] {
    const gateways = tagSenders(view, this.receiver);
    this.#ofGateways = new Map(gateways.map((g) => [g.id, g.pairs ?? []]));
    this.#origins = originsOf(view);
    this.#ofOrigins.clear();
    return gateways;
  }

  /** The keys of the origins whose credential covers the address, and the fleet's. */
  ofOrigin(address: string): readonly SipKey[] {
    let keys = this.#ofOrigins.get(address);
    if (keys === undefined) {
      const { pairs } = this.receiver;
      const origins = this.#origins.filter((o) => coversAddresses(o, 'addresses', [address]) === '');
      const words = origins.flatMap((o) => pairs?.from(o) ?? []).map((key) => Int32Array.from(key.words));
      keys = [...words, ...this.#probeKeys];
      if (this.#ofOrigins.size < MOST_ADDRESSES) this.#ofOrigins.set(address, keys);
    }
    return keys;
  }

  ofGateway(id: number, isPaired: boolean): readonly KeyWords[] {
    return isPaired ? (this.#ofGateways.get(id) ?? []) : this.#own(id);
  }

  /** A gateway's live keys; derived once, because a probe may come a hundred times a second. */
  #own(id: number): readonly KeyWords[] {
    if (this.#master === undefined) return [];
    let keys = this.#derived.get(id);
    if (keys === undefined) {
      keys = gatewayKeys(this.#master, id);
      if (this.#derived.size < MOST_GATEWAYS) this.#derived.set(id, keys);
    }
    return keys;
  }
}
