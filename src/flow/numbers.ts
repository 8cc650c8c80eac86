/**
 * Numbers that must not be mixed: the compiler refuses one kind where another is expected. At run time each is a
 * plain integer, and a {@link Column} is the typed array that contains such numbers.
 */
declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** Index of a flow's entry in the flow table; -1 for none. */
export type FlowEntry = Branded<'flow entry'>;
/** Index of a service in a program's table of services; -1 for none. */
export type ServiceNumber = Branded<'service'>;
/** Index of an endpoint (an address and port that speaks for a service) in a program's table; -1 for none. */
export type EndpointNumber = Branded<'endpoint'>;
/** Number of a machine that can carry a flow, the same for all services of a role; -1 for none. 0 is the origin. */
export type MachineNumber = Branded<'machine'>;
/** Number of a machine among those that may win a race of one service; -1 for none. 0 is the origin. */
export type CandidateNumber = Branded<'candidate'>;
/** Offset of a packet's first IP byte in an arena. */
export type At = Branded<'at'>;

export const NO_FLOW = -1 as FlowEntry;
export const NO_SERVICE = -1 as ServiceNumber;
export const NO_ENDPOINT = -1 as EndpointNumber;
export const NO_MACHINE = -1 as MachineNumber;
export const NO_CANDIDATE = -1 as CandidateNumber;

/** A typed array whose elements are numbers of one kind. */
export interface Column<N extends number> {
  [index: number]: N;
  readonly length: number;
  readonly byteLength: number;
  fill(value: N, start?: number, end?: number): this;
}

/** A column of words that native code reads and writes too. */
export type WordColumn<N extends number> = Omit<Int32Array<ArrayBuffer>, number | 'fill'> & Column<N>;

type NumberArray = Float64Array | Int32Array | Int16Array | Uint16Array | Uint8Array;

/** The same array, typed. */
export function columnOf<N extends number>(array: NumberArray): Column<N> {
  return array as unknown as Column<N>;
}

/** A new array of words, typed. */
export function wordColumn<N extends number>(length: number): WordColumn<N> {
  return new Int32Array(length) as unknown as WordColumn<N>;
}
