/**
 * Which role and program uses which bits of a packet's mark, which routing tables and which rule preferences, in one
 * place.
 *
 * Bits 24 to 27 belong to the race, as in earlier versions: a role's number, one bit for packets that will be
 * encapsulated and one for pinned packets. Every other program leaves those bits 0 and uses bits 16 to 23: its number
 * (1 to 15), the role and the kind of mark. The race's rules match none of the other programs' marks, and their rules
 * match none of the race's.
 *
 *   27 26 25 24   23 22 21 20   19 18 17 16
 *   the race      program       role · kind
 */
export const ROLES = ['gateway', 'origin', 'replica'] as const;
export type RoleName = (typeof ROLES)[number];

/** What a program's inner instance may set on packets and in the host's tables. */
export interface Allocation {
  /** The mark of packets on their way to the program's TUN. */
  mark: number;
  /** The mark of packets on their way to the TUN that will be encapsulated. */
  tunnelMark: number;
  /** The mark of packets that hooks translated before the stack sees them. */
  pinnedMark: number;
  /** The bits of the mark that belong to the program. */
  mask: number;
  /** Routing table for {@link mark}. */
  table: number;
  tunnelTable: number;
  /** Preference of the policy rules, and of the tc filters. */
  priority: number;
  /** Name of the TUN. */
  tun: string;
}

const RACE_MASK = 0x0f000000;
const RACE_TUNNEL = 0x04000000;
const RACE_PINNED = 0x08000000;
const RACE_TABLE = 7411;
const TUNNEL_TABLES = 1000;
/** The rule must stand before the local table's rule, which a replica moves to preference 10. */
const RACE_REPLICA_PRIORITY = 5;
const RACE_TUNS: Record<RoleName, string> = { gateway: 'fsgw0', origin: 'fsor0', replica: 'fsre0' };

const PROGRAM_MASK = 0x0fff0000;
const PROGRAM_SHIFT = 20;
const ROLE_SHIFT = 18;
const KIND_SHIFT = 16;
const STEERED = 0;
const TUNNELLED = 1;
const PINNED = 2;
const PROGRAM_TABLE = 7500;
const PROGRAM_PRIORITY = 7500;
/** The most programs besides the race. */
export const MOST_PROGRAMS = 15;

/** @param program the program's number; 0 is the race */
export function allocate(program: number, role: RoleName): Allocation {
  const r = ROLES.indexOf(role);
  if (program === 0) {
    const mark = (r + 1) << 24;
    const table = RACE_TABLE + r;
    return {
      mark,
      tunnelMark: mark | RACE_TUNNEL,
      pinnedMark: mark | RACE_PINNED,
      mask: RACE_MASK,
      table,
      tunnelTable: table + TUNNEL_TABLES,
      priority: role === 'replica' ? RACE_REPLICA_PRIORITY : table,
      tun: RACE_TUNS[role],
    };
  }
  if (!Number.isInteger(program) || program < 0 || program > MOST_PROGRAMS)
    throw new RangeError(`a program's number is 0 to ${MOST_PROGRAMS}, not ${program}`);
  const mark = (kind: number): number =>
    (program << PROGRAM_SHIFT) | (r << ROLE_SHIFT) | (kind << KIND_SHIFT);
  const place = 4 * program + r;
  return {
    mark: mark(STEERED),
    tunnelMark: mark(TUNNELLED),
    pinnedMark: mark(PINNED),
    mask: PROGRAM_MASK,
    table: PROGRAM_TABLE + place,
    tunnelTable: PROGRAM_TABLE + TUNNEL_TABLES + place,
    priority: PROGRAM_PRIORITY + place,
    tun: `fs${program}${role.slice(0, 2)}0`,
  };
}
