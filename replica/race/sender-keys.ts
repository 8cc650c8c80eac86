/** The keys by which a replica knows who made a tag or a probe. */
import { gatewayKeys, type KeyFile, probeKey } from '../../src/keys.js';
import type { ProbeKeys } from '../../src/probe/responder.js';
import type { KeyringGateway, KeyWords } from '../../src/race/keyring.js';
import { originKind } from '../../src/race/records.js';
import { type Receiver, tagSenders } from '../../src/race/tag-senders.js';
import type { View } from '../../src/registry/kinds.js';
import { credentialOf } from '../../src/registry/verifier.js';
import type { SipKey } from '../../src/wire/siphash.js';

/** The gateways whose derived keys are remembered. */
const MOST_GATEWAYS = 4096;

export class SenderKeys implements ProbeKeys {
  readonly #master: KeyFile | undefined;
  readonly #probeKeys: readonly SipKey[];
  readonly #derived = new Map<number, KeyWords[]>();
  /** Of the last view: by id of the gateway, and by address of the origin. */
  #ofGateways = new Map<number, readonly KeyWords[]>();
  #ofOrigins = new Map<string, SipKey[]>();

  constructor(readonly receiver: Receiver) {
    this.#master = receiver.master;
    this.#probeKeys = this.#master === undefined ? [] : [probeKey(this.#master)];
  }

  /** Takes over the registry's view. @returns the gateways whose tags are read */
  update(view: View): KeyringGateway[] {
    const { pairs } = this.receiver;
    const gateways = tagSenders(view, this.receiver);
    this.#ofGateways = new Map(gateways.map((g) => [g.id, g.pairs ?? []]));
    this.#ofOrigins = new Map(
      view.of(originKind).map((o) => {
        const credential = credentialOf(o);
        const keys = credential === undefined ? [] : (pairs?.from(credential) ?? []);
        return [o.address, keys.map(({ words }) => Int32Array.from(words))];
      }),
    );
    return gateways;
  }

  ofOrigin(address: string): readonly SipKey[] {
    return [...(this.#ofOrigins.get(address) ?? []), ...this.#probeKeys];
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
