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
  #before: ReadonlyMap<string, ReplicaRecord> | undefined;

  /** @returns the changes since the last call; none at the first one */
  take(view: View): Change[] {
    const before = this.#before;
    const now = new Map(view.of(replicaKind).map((r) => [r.id, r]));
    this.#before = now;
    if (before === undefined) return [];
    const changes: Change[] = [];
    for (const [id, r] of now) {
      const was = before.get(id);
      if (was === undefined) changes.push({ subject: id, message: `machine ${id} has joined: ${said(r)}` });
      // A reason with figures in it changes all the time.
      else if (was.state !== r.state)
        changes.push({ subject: id, message: `machine ${id}: ${said(was)} → ${said(r)}` });
    }
    for (const [id, was] of before)
      if (!now.has(id))
        changes.push({ subject: id, message: `machine ${id} has left (it was ${said(was)})` });
    if (changes.length <= MOST_TOLD) return changes;
    const first = changes.slice(0, MOST_TOLD).map((c) => c.message);
    return [
      { subject: 'machines', message: `${changes.length} machines have changed: ${first.join('; ')}; …` },
    ];
  }
}

const said = (r: ReplicaRecord): string => (r.reason === '' ? r.state : `${r.state} (${r.reason})`);
