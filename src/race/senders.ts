/**
 * Who may give a draining replica new connections, as the replica sees it: the gateways and origins of the registry
 * that have not taken the drain over, and those that the registry has lost and that have not said farewell. A gateway
 * that is cut off from Redis goes on with its last view, so its silence is no agreement.
 */
import type { View } from '../registry/kinds.js';
import { actingKind, gatewayActs, isGateway, unacknowledged } from './acting.js';
import { gatewayKind } from './records.js';

/** How long a role that has vanished is remembered. */
const REMEMBERED_MS = 600_000;

export class Senders {
  readonly #seen = new Map<string, number>();

  constructor(readonly now: () => number = () => performance.now()) {}

  /** Takes over who is in the registry. Call it about once a second. */
  look(view: View): void {
    const now = this.now();
    for (const { id, leaving } of view.of(actingKind)) {
      if (leaving === true) this.#seen.delete(id);
      else this.#seen.set(id, now);
    }
    for (const [id, at] of this.#seen) if (now - at > REMEMBERED_MS) this.#seen.delete(id);
  }

  /** @returns one sentence for each role that may still send to this replica */
  unacknowledged(view: View, replica: string): string[] {
    const gateways = new Set(view.of(gatewayKind).map((g) => gatewayActs(g.id)));
    // A gateway has two records, and either may be gone first.
    const present = new Set(
      view
        .of(actingKind)
        .filter((r) => gateways.has(r.id) || !isGateway(r.id) || r.draining.includes(replica))
        .map((r) => r.id),
    );
    const vanished = [...this.#seen].filter(([id]) => !present.has(id) && !gateways.has(id));
    return [
      ...unacknowledged(view, replica),
      ...vanished.map(([id, at]) => {
        const ago = Math.round((this.now() - at) / 1000);
        return `${id} has left the registry ${ago} s ago without a farewell: it may still send`;
      }),
    ];
  }
}
