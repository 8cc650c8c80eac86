/** `firstack replica drain|resume|status`: an operator's commands to one replica. */
import { setTimeout as pause } from 'node:timers/promises';
import { askAdmin } from '../../src/admin/client.js';
import { EXIT } from '../../src/errors.js';
import { addressOf } from '../../src/operate/asked.js';

export interface ReplicaOptions {
  admin?: string;
  /** `NAME/HOST`: a replica of a laboratory. */
  lab?: string;
  json: boolean;
}

export interface DrainOptions extends ReplicaOptions {
  /** Return only when the last connection has ended. */
  wait: boolean;
  /** The most seconds to wait; the drain itself continues after that. */
  timeout: number;
}

interface ReplicaStatus {
  instance: string;
  id: string;
  state: string;
  reason: string;
  drain: 'draining' | 'drained' | null;
  connections: number;
  /** Who may still give it new connections; absent in an older version. */
  unacknowledged?: string[];
  flows: number;
  load: number;
}

const FOLLOW_MS = 500;

function replicaOf({ admin, lab }: ReplicaOptions): string {
  const [name, host = ''] = lab?.split('/') ?? [];
  return addressOf({ admin, lab: name }, 'replica', host);
}

/** @returns 1 when the wait ended with connections left */
export async function drain(o: DrainOptions): Promise<number> {
  let now = await askAdmin<ReplicaStatus>(replicaOf(o), '/v1/drain', 'POST');
  const until = Date.now() + o.timeout * 1000;
  let told = '';
  while (o.wait && now.drain === 'draining' && Date.now() < until) {
    const text = `${now.id}: draining, ${now.connections} connections left${waitsFor(now)}`;
    if (text !== told && !o.json) print(text);
    told = text;
    await pause(FOLLOW_MS);
    now = await askAdmin<ReplicaStatus>(replicaOf(o), '/v1/status');
  }
  show(now, o);
  if (o.wait && now.drain !== 'drained' && waitsFor(now) !== '')
    process.stderr.write(`FSA_EXPECTATION: ${now.id} is not drained${waitsFor(now)}\n`);
  return o.wait && now.drain !== 'drained' ? EXIT.expectation : EXIT.ok;
}

const waitsFor = ({ unacknowledged = [] }: ReplicaStatus): string =>
  unacknowledged.length === 0 ? '' : `; ${unacknowledged.join('; ')}`;

export async function resume(o: ReplicaOptions): Promise<number> {
  show(await askAdmin<ReplicaStatus>(replicaOf(o), '/v1/resume', 'POST'), o);
  return EXIT.ok;
}

export async function status(o: ReplicaOptions): Promise<number> {
  show(await askAdmin<ReplicaStatus>(replicaOf(o), '/v1/status'), o);
  return EXIT.ok;
}

function show(s: ReplicaStatus, o: ReplicaOptions): void {
  const { instance, id, state, reason, drain: progress, connections, flows, load } = s;
  if (o.json)
    return print(JSON.stringify({ instance, id, state, reason, drain: progress, connections, flows, load }));
  const why = reason === '' ? '' : ` (${reason})`;
  print(`${id}: ${state}${why}, ${connections} connections, load ${Math.round(load * 100)} %`);
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);
