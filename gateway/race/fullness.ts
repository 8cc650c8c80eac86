/** What is said when something of a gateway's race is full, or a client uses it up, by the reason that is counted then. */
export const FULLNESS: Record<string, string> = {
  'pass.syn-table-full':
    'the flow table is full (flows.max): new connections go to the origin, and are not raced',
  'pass.syn-source-full':
    'one client has many connections that it does not confirm (a flood?): its further ones go to the origin, and are not raced',
  'limit.race-of-source':
    'one client has hundreds of connections that it does not confirm (a flood?): its further ones ask the nearest machine alone',
  'limit.race-when-full':
    'connections that no client confirms fill their part of the flow table (a flood?): new ones ask the nearest machine alone',
  'pass.syn-source-busy':
    'one client has hundreds of connections that it does not confirm (a flood?): its further ones go to the origin, and are not raced',
  'evict.half-open':
    'connections that no client confirms fill their part of the flow table (a flood?): the oldest are forgotten',
  'pass.syn-path-drops-tag':
    'tagged SYNs are not answered on the path to an origin: new connections go there without a race; tags are tried again within seconds',
};
