/**
 * Which machine holds an endpoint that several claim: the one that had it before the others came. Where a reader finds
 * several at once, none of them holds it. Under configurations A and B an (address, port) belongs to one machine and one service.
 */
import type { View } from '../registry/kinds.js';
import { endpointConflict, ownersIn, type ReplicaRecord } from './records.js';

export class Holders {
  #holders = new Map<string, string>();
  #view: View | undefined;
  /** Of the present view, by replica. */
  #conflicts = new Map<ReplicaRecord, string | undefined>();

  /** Why a machine is left out of races; undefined where it holds what it claims. */
  conflictOf(view: View, replica: ReplicaRecord): string | undefined {
    this.#look(view);
    if (!this.#conflicts.has(replica))
      this.#conflicts.set(
        replica,
        endpointConflict(view, replica, (endpoint) => this.#holders.get(endpoint)),
      );
    return this.#conflicts.get(replica);
  }

  #look(view: View): void {
    if (view === this.#view) return;
    this.#view = view;
    this.#conflicts = new Map();
    const before = this.#holders;
    this.#holders = new Map();
    for (const [endpoint, owners] of ownersIn(view)) {
      const [first, ...others] = owners;
      const isAlone = others.length === 0 || others.every((o) => o.id === first.id);
      const holder = isAlone ? first.id : owners.find((o) => o.id === before.get(endpoint))?.id;
      if (holder !== undefined) this.#holders.set(endpoint, holder);
    }
  }
}
