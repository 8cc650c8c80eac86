/** Numbers of members, by name: a member keeps its number as long as there are enough. */
import { NONE } from './flows.js';
import type { MemberNumber } from './snapshot.js';

export class MemberNumbers {
  /** The one that was asked for longest ago comes first. */
  readonly #byId = new Map<string, MemberNumber>();

  /** @param most how many there are; members that are there at once are fewer (`hello-server.ts`) */
  constructor(readonly most: number = NONE) {}

  of(id: string): MemberNumber {
    const number = this.#byId.get(id) ?? this.#free();
    this.#byId.delete(id);
    this.#byId.set(id, number);
    return number;
  }

  /** A number may be given again: the flows of the member that had it before keep their targets. */
  #free(): MemberNumber {
    if (this.#byId.size < this.most) return this.#byId.size as MemberNumber;
    const [oldest, number] = this.#byId.entries().next().value!;
    this.#byId.delete(oldest);
    return number;
  }
}
