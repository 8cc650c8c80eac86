/** Small WebAssembly modules, put together byte by byte. */
const F64 = 0x7c;
const FUNCTION = 0x60;

function number(n: number): number[] {
  const bytes: number[] = [];
  for (let left = n; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...bytes, left];
    bytes.push((left % 128) | 0x80);
  }
}
const section = (id: number, ...items: number[][]): number[] => {
  const body = [...number(items.length), ...items.flat()];
  return [id, ...number(body.length), ...body];
};
const text = (s: string): number[] => [...number(s.length), ...Buffer.from(s)];

export interface Functions {
  [name: string]: { parameters: number; hasResult: boolean; code: number[] };
}

/** @param limits of a memory: [least, most], or [least] */
export function wasm(functions: Functions, limits?: number[], importsOne = false): Uint8Array<ArrayBuffer> {
  const all = Object.entries(functions);
  const types = all.map(([, f]) => [
    FUNCTION,
    ...number(f.parameters),
    ...Array<number>(f.parameters).fill(F64),
    ...(f.hasResult ? [1, F64] : [0]),
  ]);
  const first = importsOne ? 1 : 0;
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, ...types),
    ...(importsOne ? section(2, [...text('env'), ...text('read'), 0, 0]) : []),
    ...section(3, ...all.map((_, n) => number(n))),
    ...(limits === undefined
      ? []
      : section(5, limits.length > 1 ? [1, ...limits.flatMap(number)] : [0, ...limits.flatMap(number)])),
    ...section(7, ...all.map(([name], n) => [...text(name), 0, ...number(first + n)])),
    ...section(10, ...all.map(([, f]) => [...number(f.code.length + 2), 0, ...f.code, 0x0b])),
  ]);
}

const f64 = (x: number): number[] => [0x44, ...new Uint8Array(Float64Array.of(x).buffer)];
const cost = (code: number[]): Functions => ({ cost: { parameters: 5, hasResult: true, code } });

/** load + distance */
export const SUM = wasm(cost([0x20, 0, 0x20, 1, 0xa0]));
export const constant = (x: number): Uint8Array<ArrayBuffer> => wasm(cost(f64(x)));
export const LOOP = wasm(cost([0x03, 0x40, 0x0c, 0, 0x0b, ...f64(0)]));
export const TRAP = wasm(cost([0x00]));
/** Calls itself without an end. */
export const DEEP = wasm(cost([...[0, 1, 2, 3, 4].flatMap((n) => [0x20, n]), 0x10, 0]));
export const GREEDY = wasm(cost(f64(0)), [1, 65_536]);
export const UNBOUNDED = wasm(cost(f64(0)), [1]);
export const MODEST = wasm(cost(f64(0)), [1, 16]);
export const IMPORTING = wasm(cost(f64(0)), undefined, true);
/** Without its function. */
export const OTHER = wasm({ price: { parameters: 5, hasResult: true, code: f64(1) } });
