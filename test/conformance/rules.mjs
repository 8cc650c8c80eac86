/**
 * The forty rules of a correct middlebox, and which tests show each, beside those whose title names it (`[rule 14]`,
 * `[MIDDLEBOX 3]`): a part of the file's path, and a pattern of the test's full title.
 *
 * `exceptions`: what cannot hold, or is not held, by configuration (`A6`: over IPv6 only, `A4`: over IPv4 only), with the
 * reason.
 *
 * `shared`: every configuration and both planes use the one body of code that the rule's unit tests try.
 *
 * @typedef {{n: number, rule: string, rfc?: string, tests?: [string, RegExp][], shared?: boolean,
 *   exceptions?: {in: string, why: string}[]}} Rule
 */

const ALL = 'A B C';
const NO_TAG = { in: 'A6', why: 'no tag is sent over IPv6' };

/** @type {Rule[]} */
export const RULES = [
  { n: 1, rule: 'the tag never overfills the options or the MTU', rfc: '9293', exceptions: [NO_TAG] },
  { n: 2, rule: 'kind and ExID both matter', rfc: '6994', exceptions: [NO_TAG] },
  { n: 3, rule: 'other options stay as they are and in order', rfc: '9293' },
  { n: 4, rule: 'TCP-MD5 and TCP-AO are neither tagged nor translated', rfc: '2385, 5925' },
  {
    n: 5,
    rule: 'a SYN with data goes to one machine, uncopied',
    rfc: '7413',
    tests: [['contract/', /SYN with payload goes to one machine/]],
  },
  { n: 6, rule: 'MPTCP passes or falls back', rfc: '8684' },
  { n: 7, rule: 'ECN and AccECN flags of the SYN are kept', rfc: '3168' },
  {
    n: 8,
    rule: 'no server sees a tag; an untagged SYN reaches the server of the origin only',
    tests: [
      ['integration/wire-table', /no web server's stack sees a tag/],
      ['integration/forged', /gets the SYN without the tag/],
    ],
    exceptions: [{ in: 'A6', why: 'no tag is sent over IPv6' }],
  },
  {
    n: 9,
    rule: 'truncated, zero-length, repeated options',
    tests: [['unit/wire/options', /./]],
    shared: true,
  },
  {
    n: 10,
    rule: 'a retransmitted SYN meets the same choice; a path that drops the tag still connects',
    tests: [
      [
        'contract/stages',
        /retransmitted SYN|retransmission (while|after)|gets no more tags|first retransmission is tagged/,
      ],
    ],
  },
  {
    n: 11,
    rule: "the winner's repeated SYN-ACK is forwarded",
  },
  {
    n: 12,
    rule: 'an acknowledgement of another SYN does not win',
  },
  {
    n: 13,
    rule: "a loser's RST is exact, and reaches that loser only",
    rfc: '5961',
    tests: [
      ['contract/stages', /second replica is reset, exactly/],
      ['integration/wire-table', /resets have the table/],
    ],
  },
  { n: 14, rule: "neither a loser's RST nor an ICMP error from its path ends a race" },
  {
    n: 15,
    rule: 'all replicas busy or dead: the origin serves',
    tests: [['integration/failures', /dead|busy|killed|nginx/]],
  },
  {
    n: 16,
    rule: "a loser's SYN-RECEIVED is gone within one round trip",
    tests: [['integration/wire-table', /leave SYN-RECEIVED/]],
  },
  {
    n: 17,
    rule: 'a SYN-ACK after its entry expired gets an exact RST',
    exceptions: [{ in: 'A', why: "it passes, and the client's own kernel answers with the exact RST" }],
  },
  { n: 18, rule: 'simultaneous open', rfc: '5382 REQ-2' },
  {
    n: 19,
    rule: 'after the choice nothing reaches a second responder',
    tests: [['integration/wire-table', /no packet but a reset reaches a second responder/]],
  },
  {
    n: 20,
    rule: 'established flows live 2 h 4 min without a packet',
    rfc: '5382 REQ-5',
    tests: [
      ['unit/gateway/race/config', /documented defaults/],
      ['unit/flow/states', /own idle time/],
    ],
    shared: true,
  },
  {
    n: 21,
    rule: 'transitory states 4 min, opening and closing apart',
    rfc: '7857',
    tests: [
      ['unit/gateway/race/config', /documented defaults/],
      ['unit/flow/states', /own idle time/],
    ],
    shared: true,
  },
  {
    n: 22,
    rule: 'a RST is translated; the state stays 4 min',
    rfc: '7857',
    tests: [['unit/flow/states', /reset by either side/]],
    shared: true,
  },
  {
    n: 23,
    rule: 'an inexact RST: the flow survives',
    rfc: '5961',
    tests: [['unit/flow/states', /goes on when the side/]],
    shared: true,
  },
  { n: 24, rule: 'a new SYN on an old tuple: challenge ACK, RST, SYN', rfc: '5961' },
  {
    n: 25,
    rule: 'a retransmission of acknowledged data is never dropped',
  },
  {
    n: 26,
    rule: 'two clients on one port never share a mapping',
    rfc: '5382 REQ-7',
    tests: [['unit/flow/table', /tells every word of the key apart/]],
    shared: true,
  },
  {
    n: 27,
    rule: 'an unsolicited SYN gets no answer for 6 s',
    rfc: '5382 REQ-4',
    exceptions: [
      {
        in: ALL,
        why: 'the gateway is a router, its clients are routable: the SYN is forwarded, and the client answers',
      },
    ],
  },
  {
    n: 28,
    rule: 'incremental checksums equal full ones',
    rfc: '1624',
    tests: [['unit/wire/checksum', /equals full recomputation|twins/]],
    shared: true,
  },
  {
    n: 29,
    rule: 'a bad checksum never becomes valid',
    tests: [['unit/wire/checksum', /keeps an error/]],
    shared: true,
  },
  {
    n: 30,
    rule: 'fragments are translated, in any order, with capped memory',
    rfc: '4787 REQ-14',
    tests: [
      ['unit/pipeline/reassemble', /./],
      ['integration/paths', /that fragments/],
    ],
    exceptions: [{ in: 'A6 C6', why: 'fragments of IPv6 pass as they are' }],
  },
  {
    n: 31,
    rule: 'the IP ID stays unique',
    rfc: '6864',
    exceptions: [{ in: 'A6 C6', why: 'IPv6 has no such field outside fragments' }],
    tests: [['unit/pipeline/tunnel', /identifications of outer headers/]],
    shared: true,
  },
  {
    n: 32,
    rule: '"fragmentation needed" is translated both ways',
    rfc: '5508',
    tests: [['integration/paths', /that sends ICMP errors/]],
  },
  { n: 33, rule: 'no ICMP error deletes a mapping; one with a bad checksum is dropped', rfc: '5508' },
  {
    n: 34,
    rule: 'inner DF is outer DF; a TTL of 0 is never encapsulated (that part is not tried)',
    rfc: '2003',
    exceptions: [{ in: 'A', why: 'no tunnel' }],
    tests: [['unit/wire/ipip', /DF, DSCP and ECN copied/]],
    shared: true,
  },
  {
    n: 35,
    rule: "the tunnel's errors are told with MTU − 20, or as host unreachable",
    rfc: '2003',
    exceptions: [{ in: 'A B', why: 'no tunnel but for SYNs and their answers' }],
  },
  {
    n: 36,
    rule: 'transfers over a hop of 1,400 bytes that sends no ICMP errors',
    rfc: '8899',
    tests: [
      ['integration/paths', /that sends no ICMP errors/],
      ['unit/gateway/race/path-probes', /./],
    ],
    exceptions: [{ in: 'A6 C6', why: 'paths over IPv6 are not probed' }],
  },
  {
    n: 37,
    rule: 'ECN through the tunnel',
    rfc: '6040',
    exceptions: [{ in: 'A', why: 'no tunnel' }],
    tests: [['unit/wire/ipip', /figure 4/]],
    shared: true,
  },
  {
    n: 38,
    rule: 'IPv6 extension headers',
    rfc: '8200',
    exceptions: [{ in: 'A4 B C4', why: 'a rule of IPv6, which is carried in configurations A and C only' }],
  },
  {
    n: 39,
    rule: 'forged tags, tunnels, SYN-ACKs, records are not accepted',
    tests: [
      ['fuzz/forgery', /./],
      ['integration/forged', /./],
    ],
    shared: true,
  },
  {
    n: 40,
    rule: 'a flood of ten times the table: memory flat, flows unharmed',
    tests: [['unit/flow/table', /flood of ten times/]],
    shared: true,
  },
];
