/**
 * The farm's process, started by `farm-fleet.ts` on the farm's host:
 *   node farm-main.js PLAN APPLIED
 * It publishes a record for each machine with heartbeats, as a replica role would, and may answer probes for all of
 * them. SIGHUP: read PLAN again. APPLIED then holds its generation.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { pack } from 'msgpackr';
import { gatewayKeys, type KeyFile, probeKey, readKeyFile } from '../keys.js';
import { type ProbeKeys, ProbeResponder } from '../probe/responder.js';
import type { ReplicaRecord } from '../race/records.js';
import { CHANGES_KEPT, changesOf, HEARTBEAT_MS, indexOf, keyOf, TTL_MS } from '../registry/keys.js';
import type { FarmPlan, Published } from './farm.js';

const [planFile, appliedFile] = process.argv.slice(2);
const TOPIC = 'replica';
/** The heartbeats of one second are sent in so many parts. */
const PARTS = 10;
/** How long a machine stays busy. */
const BUSY_MS = 5000;

const readPlan = () => JSON.parse(readFileSync(planFile, 'utf8')) as FarmPlan;

let plan = readPlan();
const redis = new Redis({ path: plan.redisSocket });
redis.on('error', () => {});
interface Kept {
  record: ReplicaRecord;
  /** The record, packed. */
  bytes: Buffer;
}
/** By id. */
const records = new Map<string, Kept>();
/** By address. */
const responders = new Map<string, ProbeResponder>();

function recordOf(p: Published): Kept {
  const { name, port } = p.service ?? plan.service;
  const record: ReplicaRecord = {
    v: 1,
    id: p.id,
    address: p.address,
    services: [{ name, port }],
    state: p.state ?? 'up',
    reason: '',
    connections: 0,
    load: p.load ?? 0,
    clock: 'free',
  };
  return { record, bytes: pack(record) };
}

/** Publishes new and changed records, and withdraws those that the plan has no more, as `registry/redis.ts` does. */
async function publish(): Promise<void> {
  const batch = redis.pipeline();
  const changes = changesOf(TOPIC);
  const wanted = new Map(plan.published.map((p) => [p.id, recordOf(p)]));
  for (const id of [...records.keys()].filter((known) => !wanted.has(known))) {
    records.delete(id);
    batch.del(keyOf(TOPIC, id)).srem(indexOf(TOPIC), id);
    batch.xadd(changes, 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id, 'withdrawn', '1');
  }
  for (const [id, kept] of wanted) {
    // A record that changes by itself differs from the plan.
    if (plan.changes !== undefined && records.has(id)) continue;
    if (records.get(id)?.bytes.equals(kept.bytes) === true) continue;
    records.set(id, kept);
    batch.set(keyOf(TOPIC, id), kept.bytes, 'PX', TTL_MS).sadd(indexOf(TOPIC), id);
    batch.xadd(changes, 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id);
  }
  await batch.exec();
}

/** Changes one record, and announces it. */
function change(id: string, change: Partial<ReplicaRecord>): void {
  const kept = records.get(id);
  if (kept === undefined) return;
  Object.assign(kept.record, change);
  kept.bytes = pack(kept.record);
  const batch = redis.pipeline().set(keyOf(TOPIC, id), kept.bytes, 'PX', TTL_MS);
  batch.xadd(changesOf(TOPIC), 'MAXLEN', '~', CHANGES_KEPT, '*', 'id', id);
  batch.exec().catch(() => {});
}

const due = { state: 0, load: 0 };
/** Records change as often as the plan says, as those of roles do whose load and connections vary. */
function vary(): void {
  const { changes } = plan;
  const ids = [...records.keys()];
  if (changes === undefined || ids.length === 0) return;
  const any = (): string => ids[Math.floor(Math.random() * ids.length)];
  const part = ids.length / PARTS;
  // Each machine that becomes busy is up again later: two changes.
  for (due.state += (changes.state * part) / 2; due.state >= 1; due.state--) {
    const id = any();
    if (changes.steady.includes(id) || records.get(id)?.record.state !== 'up') continue;
    change(id, { state: 'busy', reason: 'many connections' });
    setTimeout(() => change(id, { state: 'up', reason: '' }), BUSY_MS);
  }
  for (due.load += changes.load * part; due.load >= 1; due.load--) {
    const id = any();
    const load = records.get(id)!.record.load;
    change(id, { load: load > 0.5 ? 0.3 : load + 0.15 });
  }
}

let part = 0;
function beat(): void {
  const batch = redis.pipeline();
  let n = 0;
  for (const [id, { bytes }] of records)
    if (n++ % PARTS === part) batch.set(keyOf(TOPIC, id), bytes, 'PX', TTL_MS);
  part = (part + 1) % PARTS;
  batch.exec().catch(() => {});
}

/** The keys of the replica role (`SenderKeys`) where no role has an identity. */
class MasterKeys implements ProbeKeys {
  readonly #origins;
  readonly #gateways = new Map<number, ReturnType<typeof gatewayKeys>>();

  constructor(readonly master: KeyFile) {
    this.#origins = [probeKey(master)];
  }

  ofOrigin() {
    return this.#origins;
  }

  ofGateway(id: number, isPaired: boolean) {
    if (isPaired) return [];
    let keys = this.#gateways.get(id);
    if (keys === undefined) {
      keys = gatewayKeys(this.master, id);
      this.#gateways.set(id, keys);
    }
    return keys;
  }
}

async function answerProbes(): Promise<void> {
  const wanted = new Set(plan.answersProbes ? plan.published.map((p) => p.address) : []);
  for (const [address, responder] of responders) {
    if (wanted.has(address)) continue;
    responder.stop();
    responders.delete(address);
  }
  const fresh = [...wanted].filter((address) => !responders.has(address));
  if (fresh.length === 0) return;
  const keys = new MasterKeys(readKeyFile(plan.masterKeyFile, 'master'));
  for (const address of fresh) {
    const responder = new ProbeResponder(address, keys);
    await responder.start();
    responders.set(address, responder);
  }
}

async function apply(): Promise<void> {
  plan = readPlan();
  const { generation } = plan;
  await answerProbes();
  await publish();
  writeFileSync(`${appliedFile}.new`, String(generation));
  renameSync(`${appliedFile}.new`, appliedFile);
}

// One change after another, each with the plan as it then is.
let turn = apply();
process.on('SIGHUP', () => {
  turn = turn.then(apply);
});
process.on('SIGTERM', () => process.exit(0));
setInterval(beat, HEARTBEAT_MS / PARTS);
setInterval(vary, HEARTBEAT_MS / PARTS);
await turn;
