/**
 * Takes the datagrams by which members tell where they send a flow, and sends the rest of that flow there directly.
 * A router in the middle tells the one above it in turn. And takes what routers of the same level tell and ask.
 *
 * reads: verdict, protocol, addresses and ports, l4. Sets: verdict.
 */
import { type Batch, OPEN, type Stage } from '../../src/pipeline/batch.js';
import { NEWS_PORT } from '../../src/routing/flow-news.js';
import * as shortcut from '../../src/routing/shortcut.js';
import { isV4At } from '../../src/wire/address.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as udp from '../../src/wire/udp.js';
import { reasons } from './reasons.js';
import type { SlrState } from './state.js';
import { tellUpper } from './tell-upper.js';

export function takeShortcuts(state: SlrState): Stage {
  return (batch) => {
    for (let i = 0; i < batch.count; i++)
      if (
        batch.verdict[i] === OPEN &&
        batch.protocol[i] === ipv4.PROTO_UDP &&
        batch.family[i] === 4 &&
        batch.daddrV4(i) === state.address
      ) {
        if (batch.dport[i] === shortcut.SHORTCUT_PORT) batch.drop(i, take(state, batch, i));
        else if (batch.dport[i] === NEWS_PORT)
          batch.drop(i, state.neighbours.take(batch, i, state.address, state.nowTick, state.moved));
      }
  };
}

const target = new Int32Array(4);

/** @returns the reason that the datagram ends here */
function take(state: SlrState, batch: Batch, i: number): number {
  const { flows } = state;
  const { view } = batch;
  const number = state.memberAt.ofWords(batch.saddr, 4 * i, 0, 0);
  const member = state.members.get(number);
  const at = batch.l4[i] + udp.HEADER;
  if (member === undefined) return reasons.dropStranger;
  if (!shortcut.isGenuine(view, at, udp.length(view, batch.l4[i]) - udp.HEADER, member.key))
    return reasons.dropShortcutForged;
  if (!member.seen.admits(shortcut.sequence(view, at))) return reasons.dropShortcutRepeated;
  shortcut.readTarget(view, at, target);
  if (member.targets.find(target, 0) < 0) return reasons.dropShortcutRefused;
  shortcut.readKey(view, at, flows);
  const e = flows.find();
  // A flow that was given to another member meanwhile is not this one's any more.
  if (e < 0 || flows.member[e] !== number) return reasons.dropShortcutNoFlow;
  // A tunnel is of its flow's family.
  if (flows.isV4(e) !== isV4At(target, 0)) return reasons.dropShortcutRefused;
  for (let w = 0; w < 4; w++) flows.target[4 * e + w] = target[w];
  flows.isShort[e] = 1;
  if (flows.upper[e] !== 0) tellUpper(state, batch, e);
  state.moved(e);
  return reasons.dropShortcutTaken;
}
