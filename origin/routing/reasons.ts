/** The counters of a service-level router's pipeline. */
import { defineReasons } from '../../src/pipeline/reasons.js';

export const reasons = defineReasons({
  passRouted: 'pass.routed',
  passKnown: 'pass.known',
  passByHash: 'pass.by-hash',
  passTableFull: 'pass.table-full',
  dropNoMember: 'drop.no-member',
  dropExpired: 'drop.expired',
  dropStranger: 'drop.stranger',
  dropTunnelInner: 'drop.tunnel-inner',
  dropShortcutTaken: 'drop.shortcut-taken',
  dropShortcutForged: 'drop.shortcut-forged',
  dropShortcutRepeated: 'drop.shortcut-repeated',
  dropShortcutRefused: 'drop.shortcut-refused',
  dropShortcutNoFlow: 'drop.shortcut-no-flow',
  dropNews: 'drop.news-taken',
  dropNewsForged: 'drop.news-forged',
  dropNewsRepeated: 'drop.news-repeated',
  dropWhohas: 'drop.whohas-taken',
  emitNews: 'emit.news',
  emitWhohas: 'emit.whohas',
  emitShortcut: 'emit.shortcut',
  emitTooBig: 'emit.too-big',
  evictEnded: 'evict.ended',
  evictHalfOpen: 'evict.half-open',
});
