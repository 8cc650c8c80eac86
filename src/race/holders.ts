/**
 * Which machine holds an endpoint that several claim: the one that had it before the others came. Where a reader finds
 * several at once, none of them holds it. Under configurations A and B an (address, port) belongs to one machine and one service.
 */
import type { View } from '../registry/kinds.js';
import { endpointConflict, ownersIn } from './claims.js';
import type { ReplicaRecord } from './records.js';

type Owners = ReturnType<typeof ownersIn>;

export class Holders {
  #holders = new Map<string, string>();
  #view: View | undefined;
  #owners: Owners | undefined;
  /** Whether some endpoint has several claims. */
  #isContested = false;
  /** Of the present owners, by the replica's id. */
  #conflicts = new Map<string, string | undefined>();

  /** Why a machine is left out of races; undefined where it holds what it claims. */
  conflictOf(view: View, replica: ReplicaRecord): string | undefined {
    this.#look(view);
    if (!this.#isContested) return undefined;
    if (!this.#conflicts.has(replica.id))
      this.#conflicts.set(
        replica.id,
        endpointConflict(view, replica, (endpoint) => this.#holders.get(endpoint)),
      );
    return this.#conflicts.get(replica.id);
  }

  #look(view: View): void {
    if (view === this.#view) return;
    this.#view = view;
    const owned = ownersIn(view);
    if (owned === this.#owners) return;
    this.#owners = owned;
    this.#conflicts = new Map();
    this.#isContested = false;
    const before = this.#holders;
    this.#holders = new Map();
    for (const [endpoint, owners] of owned) {
      const [first, ...others] = owners;
      if (others.length > 0) this.#isContested = true;
      const isAlone = others.length === 0 || others.every((o) => o.id === first.id);
      const holder = isAlone ? first.id : owners.find((o) => o.id === before.get(endpoint))?.id;
      if (holder !== undefined) this.#holders.set(endpoint, holder);
    }
  }
}
