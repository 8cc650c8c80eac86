/** What has changed among the machines of a view, as sentences for the operator who asks later. */
import type { View } from '../registry/kinds.js';
import { type ReplicaRecord, replicaKind } from './records.js';

/** More changes at once than this are told as one sentence: a fleet's restart is one event, not thousands. */
const MOST_TOLD = 10;

export interface Change {
  subject: string;
  message: string;
}

export class Changes {
  #before: readonly ReplicaRecord[] | undefined;

  /** @returns the changes since the last call; none at the first one */
  take(view: View): Change[] {
    const before = this.#before;
    const now = view.of(replicaKind);
    this.#before = now;
    if (before === undefined || before === now) return [];
    const changes: Change[] = [];
    const compare = (was: ReplicaRecord, is: ReplicaRecord): void => {
      // A reason with figures in it changes all the time.
      if (was.state !== is.state)
        changes.push({ subject: is.id, message: `machine ${is.id}: ${said(was)} → ${said(is)}` });
    };
    // Most changes are of machines that stay.
    if (before.length === now.length && before.every((was, i) => was.id === now[i].id))
      before.forEach((was, i) => {
        compare(was, now[i]);
      });
    else {
      const left = new Map(before.map((r) => [r.id, r]));
      for (const is of now) {
        const was = left.get(is.id);
        left.delete(is.id);
        if (was !== undefined) compare(was, is);
        else changes.push({ subject: is.id, message: `machine ${is.id} has joined: ${said(is)}` });
      }
      for (const [id, was] of left)
        changes.push({ subject: id, message: `machine ${id} has left (it was ${said(was)})` });
    }
    if (changes.length <= MOST_TOLD) return changes;
    const first = changes.slice(0, MOST_TOLD).map((c) => c.message);
    return [
      { subject: 'machines', message: `${changes.length} machines have changed: ${first.join('; ')}; …` },
    ];
  }
}

const said = (r: ReplicaRecord): string => (r.reason === '' ? r.state : `${r.state} (${r.reason})`);
