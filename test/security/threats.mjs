/**
 * Who could do what, what stands against it, and the tests that try it: a part of the file's path, and a pattern of the test's
 * title as it stands in the file; without a pattern all of the file's tests. `table.mjs` makes `deploy/security.md` of it.
 *
 * @typedef {{who: string, does: string, defence: string, tests: [string, RegExp?][]}} Threat
 */

const KEYS = '[keys of its own](identities.md)';

/** @type {Threat[]} */
export const THREATS = [
  {
    who: 'a stranger on the wire',
    does: 'forges tags, tunnel packets, probes, acknowledgements',
    defence: 'tags and probes have MACs; acknowledgements must fit an open race',
    tests: [['fuzz/forgery'], ['integration/forged']],
  },
  {
    who: "a replica's keys",
    does: 'makes tags and probes as a gateway or an origin',
    defence: `keys that two machines share alone; no key in common: each machine has ${KEYS}`,
    tests: [
      ['unit/trust/pair-keys'],
      ['unit/race/keyring', /keys of pairs/],
      ['fuzz/forgery', /for a pair/],
      ['integration/pair-keys'],
    ],
  },
  {
    who: 'who captured a tag',
    does: 'opens the same connection again',
    defence: 'a tag opens a connection once; the whole epoch is in its MAC',
    tests: [
      ['unit/race/keyring', /captured tag/],
      ['contract/stages', /shows every reason/],
    ],
  },
  {
    who: "a replica's Redis account and keys",
    does: "joins a service, claims another's address, writes over others' records",
    defence: `records count for what their credential covers: each machine has ${KEYS}, and a user of Redis`,
    tests: [
      ['fuzz/records'],
      ['unit/trust/scope'],
      ['integration/registry-trust', /forged|own user/],
      ['integration/trust', /take nothing over/],
      ['integration/thieves', /replica/],
    ],
  },
  {
    who: "an origin's",
    does: 'publishes a service at an address of others',
    defence:
      "the credential's `servicePrefixes`; never loopback, link-local or multicast; never the gateway's own addresses or its clients' prefixes",
    tests: [
      ['unit/registry/records', /refused at/],
      ['unit/gateway/race/disputes', /a service at/],
      ['integration/thieves', /origin/],
    ],
  },
  {
    who: "a gateway's",
    does: "writes another's prefixes, tells other sites times",
    defence: "the credential's `prefixes` and `sites`",
    tests: [
      ['unit/gateway/race/disputes', /prefixes/],
      ['integration/registry-trust', /forged/],
      ['integration/thieves', /gateway/],
    ],
  },
  {
    who: "a gateway's",
    does: 'tells its own site wrong times',
    defence: "believed no further than the reader's own probes",
    tests: [
      ['unit/proximity/site', /no further than their own probes/],
      ['integration/thieves', /gateway/],
    ],
  },
  {
    who: 'any of these',
    does: 'spoils streams and indexes',
    defence: 'hints: records are looked for by their keys',
    tests: [['integration/registry-hints'], ['integration/thieves']],
  },
  {
    who: 'any of these',
    does: "contradicts an honest role's file, so that it would not start",
    defence: 'what is in conflict is left out and said',
    tests: [['integration/trust', /keeps no role from starting/], ['integration/thieves']],
  },
  {
    who: 'a client, or a flood of spoofed ones',
    does: 'opens connections and confirms none',
    defence: 'a pool of their own, of which the oldest makes room; ended flows go before living ones',
    tests: [
      ['unit/gateway/race/floods', /a flood|full/],
      ['unit/replica/race/floods'],
      ['unit/flow/half-open'],
      ['integration/attacks'],
    ],
  },
  {
    who: 'a client that floods',
    does: 'has its SYNs copied to all machines, has its neighbours sent elsewhere',
    defence:
      'a source with many unconfirmed connections is sent to one machine alone, and is no evidence; one stall counts once',
    tests: [
      ['unit/gateway/race/floods', /does not confirm/],
      ['unit/proximity/learned', /one stall/],
      ['integration/attacks'],
    ],
  },
  {
    who: 'a client',
    does: 'makes a machine look broken to its neighbours',
    defence: 'several clients must agree, told apart by address',
    tests: [['unit/gateway/race/service-judge', /one client/]],
  },
  {
    who: 'a client',
    does: 'repeats its SYN at once',
    defence: 'copied to no machine, and no evidence (`drop.syn-repeated-early`)',
    tests: [['contract/stages', /shows every reason/]],
  },
  {
    who: 'a stranger, a client, or a gateway’s key',
    does: 'has more sent than it sends',
    defence: 'each candidate is asked once; answers are no larger than what asks; nothing forged is answered',
    tests: [['integration/amplification']],
  },
  {
    who: 'a replica, or who spoofs one',
    does: 'opens connections to clients behind a strict firewall',
    defence: 'a bare SYN from a server is never ours, in the kernel and in the process',
    tests: [['integration/firewalls', /no machine opens/]],
  },
  {
    who: 'the service user',
    does: 'plants files under `/run/firstack` for root to follow',
    defence: 'what no role wrote is not followed',
    tests: [
      ['unit/steer/record', /not followed|no setting/],
      ['unit/admin/place', /behind a link/],
    ],
  },
  {
    who: 'another user of the host',
    does: 'reads flows, drains a machine',
    defence:
      'the admin API is a Unix socket of one user; on loopback are health and metrics alone, unless the file names `admin.listen`',
    tests: [['unit/admin/place'], ['integration/admin']],
  },
  {
    who: "who reaches a role's port from another host",
    does: 'reads flows, drains a machine',
    defence:
      'health and metrics alone, unless `admin.tokenFile` and `admin.tls` are set; each change is an event',
    tests: [['unit/admin/guard']],
  },
  {
    who: "a web page in an operator's browser",
    does: 'asks the admin API',
    defence: 'other sites, names and content types are refused',
    tests: [
      ['unit/admin/server', /changes nothing|another site/],
      ['integration/admin', /admin.listen/],
    ],
  },
];
