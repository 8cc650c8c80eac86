/**
 * Small numbers for the machines that can win a race, the same in the control plane and in the data
 * plane for the life of a process. 0 is always the origin.
 */
export const ORIGIN = 0;
export const ORIGIN_ID = 'origin';

export class Candidates {
  readonly #slots = new Map<string, number>();
  readonly #ids: string[] = [ORIGIN_ID];

  /** The number of a replica, given out at its first mention and never given to another. */
  slotOf(replicaId: string): number {
    if (replicaId === ORIGIN_ID) return ORIGIN;
    let slot = this.#slots.get(replicaId);
    if (slot === undefined) {
      slot = this.#ids.length;
      this.#slots.set(replicaId, slot);
      this.#ids.push(replicaId);
    }
    return slot;
  }

  idOf(slot: number): string {
    return this.#ids[slot] ?? `#${slot}`;
  }
}
