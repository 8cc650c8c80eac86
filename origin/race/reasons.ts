/** The reasons for the origin's verdicts. */
import { defineReasons } from '../../src/pipeline/reasons.js';

export const reasons = defineReasons({
  passUntagged: 'pass.syn-untagged',
  passStripped: 'pass.syn-tag-refused',
  passAtOnce: 'pass.syn-to-server',
  passNotSyn: 'pass.not-a-syn',
  passNotOurs: 'pass.not-ours',
  passIcmp: 'pass.icmp-error',
  holdServer: 'hold.syn-for-server',
  holdCopy: 'queued.copy',
  dropHeldAlready: 'drop.syn-held-already',
  dropServedRemotely: 'drop.syn-to-remote-server',
  emitCopy: 'emit.copy',
  emitIcmp: 'emit.icmp-relayed',
  limitIcmp: 'limit.icmp-relayed',
  tagForeign: 'tag.foreign',
  tagStale: 'tag.stale',
  tagForged: 'tag.forged',
  tagSeen: 'tag.seen-before',
  tagMalformed: 'tag.malformed',
  tagGenuine: 'tag.genuine',
  lateHoldFull: 'late.hold-queue-full',
});
