/**
 * The routers of the same level: what this one tells them of its flows, so that each can go on with the others', and
 * what it asks them about a flow whose server it does not find at once. In batches, off the packets' way, within bounds.
 */
import { type FlowEntry, NO_FLOW } from '../../src/flow/numbers.js';
import { DATAGRAMS, ESTABLISHED, isClosing, SERVER_FIN } from '../../src/flow/states.js';
import type { Batch } from '../../src/pipeline/batch.js';
import * as news from '../../src/routing/flow-news.js';
import { isV4At } from '../../src/wire/address.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import { keyFromBytes, type SipKey } from '../../src/wire/siphash.js';
import * as udp from '../../src/wire/udp.js';
import { NONE, type SlrFlows } from './flows.js';
import { reasons } from './reasons.js';
import { Sequence } from './sequence.js';
import type { SlrSnapshot } from './snapshot.js';

/** Flows that wait to be told; a power of two. More are told by the next walk through the table. */
const QUEUE = 16_384;
/** Datagrams to each neighbour in a tick, 1,280 flows. */
const MOST_A_TICK = 64;
/** A living flow is told again within so many ticks. */
const WALK_TICKS = 600;
/** A flow that a neighbour told is forgotten when it is not told again for so long, in ticks. */
export const TOLD_TICKS = 1800;
/** Questions a second, and at once. */
const QUESTIONS = 2000;
/** Questions in a row that led nowhere, after which a neighbour is asked once in so many times. */
const PATIENCE = 64;
const SELDOM = 8;
const TTL = 64;

interface Neighbour {
  address: number;
  /** Whether it has said anything yet. */
  isKnown: boolean;
  epoch: number;
  seen: Sequence;
  /** Questions since it last knew a flow, or began. */
  inVain: number;
}

export class Neighbours {
  #all: Neighbour[] = [];
  #key: SipKey | undefined;
  readonly #queue = new Int32Array(QUEUE);
  #head = 0;
  #tail = 0;
  #hand = 0;
  #sequence = 0;
  #questions = QUESTIONS;

  /** @param epoch when this process began, s since 1970 */
  constructor(
    readonly flows: SlrFlows,
    readonly epoch: number,
  ) {}

  get isAlone(): boolean {
    return this.#all.length === 0;
  }

  load(s: NonNullable<SlrSnapshot['neighbours']>): void {
    const before = this.#all;
    this.#key = keyFromBytes(Uint8Array.from(s.key));
    this.#all = s.addresses.map(
      (a) =>
        before.find((n) => n.address === a[3]) ?? {
          address: a[3],
          isKnown: false,
          epoch: 0,
          seen: new Sequence(),
          inVain: 0,
        },
    );
  }

  /** The flow is new, or goes elsewhere now: the others are told in the next tick. */
  tell(e: FlowEntry): void {
    if (this.#all.length === 0 || this.#tail - this.#head >= QUEUE) return;
    this.#queue[this.#tail++ & (QUEUE - 1)] = e;
  }

  /** Runs ten times a second. Emits, and lets the packets leave. */
  tick(batch: Batch, own: number): void {
    this.#questions = Math.min(QUESTIONS, this.#questions + QUESTIONS / 10);
    if (this.#all.length === 0) return;
    this.#walk();
    let sent = 0;
    while (this.#head !== this.#tail && sent++ < MOST_A_TICK) this.#tellSome(batch, own);
    batch.flush();
  }

  /** Queues the next part of the living flows, which the others would forget. */
  #walk(): void {
    const { flows } = this;
    const steps = Math.ceil(flows.capacity / WALK_TICKS);
    for (let k = 0; k < steps; k++) {
      const e = this.#hand as FlowEntry;
      this.#hand = e + 1 === flows.capacity ? 0 : e + 1;
      const isLiving = flows.state[e] === ESTABLISHED || flows.state[e] === DATAGRAMS;
      if (isLiving && flows.isTold[e] === 0) this.tell(e);
    }
  }

  #tellSome(batch: Batch, own: number): void {
    const { flows } = this;
    const from = this.#head;
    let count = 0;
    for (let k = from; k !== this.#tail && count < news.MOST_RECORDS; k++) count++;
    this.#head = from + count;
    for (let n = 0; n < this.#all.length; n++) {
      const at = this.#begin(batch, own, this.#all[n].address, news.NEWS, count);
      for (let k = from; k < from + count; k++) {
        const e = this.#queue[k & (QUEUE - 1)] as FlowEntry;
        news.addRecord(batch.view, at, flows, e, flows.state[e] !== 0 && !isClosing(flows.state[e]));
      }
      news.seal(batch.view, at, this.#key!);
    }
    if (this.#head === this.#tail) this.#head = this.#tail = 0;
  }

  /** Asks every neighbour who has the flow; seldom one that has not known any for long: it has lost them too, or is cut off. */
  ask(batch: Batch, own: number, e: FlowEntry): void {
    if (this.#all.length === 0 || this.#questions < 1) return;
    this.#questions--;
    for (let n = 0; n < this.#all.length; n++) {
      const neighbour = this.#all[n];
      if (neighbour.inVain++ >= PATIENCE && neighbour.inVain % SELDOM !== 0) continue;
      const at = this.#begin(batch, own, neighbour.address, news.WHOHAS, 1);
      news.addRecord(batch.view, at, this.flows, e, false);
      news.seal(batch.view, at, this.#key!);
    }
  }

  /** @returns where the message begins */
  #begin(batch: Batch, own: number, to: number, kind: number, records: number): number {
    const length = news.lengthOf(records);
    const total = ipv4.MIN_HEADER + udp.HEADER + length;
    const reason = kind === news.NEWS ? reasons.emitNews : reasons.emitWhohas;
    const at = batch.at[batch.emit(total, reason)];
    const { view } = batch;
    ipv4.write(view, at, 0, total, 0, true, TTL, ipv4.PROTO_UDP, own, to);
    udp.write(view, at + ipv4.MIN_HEADER, news.NEWS_PORT, news.NEWS_PORT, udp.HEADER + length);
    const message = at + ipv4.MIN_HEADER + udp.HEADER;
    this.#sequence = (this.#sequence + 1) | 0;
    news.writeHeader(view, message, this.epoch, this.#sequence, kind);
    return message;
  }

  /**
   * Takes what a neighbour said.
   * @param moved called for a flow of this router's own that goes elsewhere now
   * @returns the reason that the datagram ends here
   */
  take(batch: Batch, i: number, own: number, nowTick: number, moved: (e: FlowEntry) => void): number {
    const { view } = batch;
    const from = this.#of(batch.saddrV4(i));
    const at = batch.l4[i] + udp.HEADER;
    if (from === undefined) return reasons.dropStranger;
    if (!news.isGenuine(view, at, udp.length(view, batch.l4[i]) - udp.HEADER, this.#key!))
      return reasons.dropNewsForged;
    const ahead = from.isKnown ? (news.epoch(view, at) - from.epoch) | 0 : 1;
    if (ahead > 0) {
      from.isKnown = true;
      from.epoch = news.epoch(view, at);
      from.seen = new Sequence();
      from.inVain = 0;
    }
    if (ahead < 0 || !from.seen.admits(news.sequence(view, at))) return reasons.dropNewsRepeated;
    const isQuestion = news.kind(view, at) === news.WHOHAS;
    for (let n = 0; n < news.records(view, at); n++) {
      news.readKey(view, at, n, this.flows);
      if (isQuestion) this.#answer(batch, own, from.address);
      else if (this.#learn(view, at, n, nowTick, moved)) from.inVain = 0;
    }
    return isQuestion ? reasons.dropWhohas : reasons.dropNews;
  }

  #of(address: number): Neighbour | undefined {
    for (let n = 0; n < this.#all.length; n++) if (this.#all[n].address === address) return this.#all[n];
    return undefined;
  }

  #answer(batch: Batch, own: number, to: number): void {
    const { flows } = this;
    const e = flows.find();
    // What this router guessed itself is no answer.
    if (e < 0 || flows.isGuess[e] === 1 || isClosing(flows.state[e])) return;
    const at = this.#begin(batch, own, to, news.NEWS, 1);
    news.addRecord(batch.view, at, flows, e, true);
    news.seal(batch.view, at, this.#key!);
  }

  readonly #target = new Int32Array(4);

  /** @returns whether it tells where a flow goes that was guessed here */
  #learn(view: DataView, at: number, n: number, nowTick: number, moved: (e: FlowEntry) => void): boolean {
    const { flows } = this;
    const target = this.#target;
    news.readTarget(view, at, n, target);
    const isOver = target[0] === 0 && target[1] === 0 && target[2] === 0 && target[3] === 0;
    // A tunnel is of its flow's family.
    if (!isOver && isV4At(target, 0) !== isV4At(flows.key, 0)) return false;
    let e = flows.find();
    if (e >= 0 && flows.isTold[e] === 0 && flows.isGuess[e] !== 1) return false;
    if (isOver) {
      if (e >= 0 && flows.isTold[e] === 1) flows.remove(e);
      return false;
    }
    if (e < 0) {
      e = flows.insert();
      if (e === NO_FLOW) return false;
      flows.state[e] = flows.isTcp(e) ? ESTABLISHED : DATAGRAMS;
      flows.marks[e] = SERVER_FIN;
      flows.member[e] = NONE;
      flows.isTold[e] = 1;
    }
    flows.isShort[e] = 1;
    for (let w = 0; w < 4; w++) flows.target[4 * e + w] = target[w];
    if (flows.isGuess[e] === 1) {
      flows.isGuess[e] = 0;
      moved(e);
      return true;
    }
    flows.expiresAt[e] = nowTick + TOLD_TICKS;
    return false;
  }
}
