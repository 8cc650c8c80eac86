/** The types of the bpf(2) addon (`native/bpf.c`), which is loaded once per thread. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Numbers of the kernel's map types. */
export const HASH = 1;
export const ARRAY = 2;
export const PERCPU_ARRAY = 6;
export const LRU_HASH = 9;
export const LPM_TRIE = 11;
export const NO_PREALLOC = 1;
export const MMAPABLE = 1 << 10;

export interface NativeBpf {
  createMap(
    type: number,
    keyBytes: number,
    valueBytes: number,
    entries: number,
    flags: number,
    name: string,
  ): number;
  /** The memory of an array that was made with {@link MMAPABLE}; the kernel shares it. */
  map(fd: number, bytes: number): Uint8Array;
  pin(fd: number, path: string): void;
  get(path: string): number;
  close(fd: number): void;
  /** Four words: type, key bytes, value bytes, entries. */
  mapShape(fd: number, out: Uint8Array): void;
  /** @returns the number written before one failed */
  update(
    fd: number,
    keys: Uint8Array,
    keyBytes: number,
    values: Uint8Array,
    valueBytes: number,
    count: number,
  ): number;
  /** @returns the number that existed */
  remove(fd: number, keys: Uint8Array, keyBytes: number, count: number): number;
  lookup(fd: number, key: Uint8Array, value: Uint8Array): number;
  /** @returns the number of entries read; -1 - entries when those were the last */
  scan(
    fd: number,
    cursor: Uint8Array,
    first: number,
    keys: Uint8Array,
    values: Uint8Array,
    limit: number,
  ): number;
  /** `context` is a `struct __sk_buff`; its first two words return the output length and the nanoseconds. */
  testRun(fd: number, input: Uint8Array, output: Uint8Array, context: Uint8Array, repeat: number): number;
}

// This file runs as dist/src/fastpath/native.js, or from src/ in the tests.
const here = fileURLToPath(new URL('.', import.meta.url));
const root = here.includes('/dist/src/')
  ? here.replace(/\/dist\/src\/.*/, '')
  : here.replace(/\/src\/.*/, '');

/** The path of a program's compiled hooks; the file does not exist where the package was built without clang. */
export const hookObject = (program: string): string => `${root}/dist/bpf/${program}.bpf.o`;

export const bpf: NativeBpf = createRequire(import.meta.url)(`${root}/dist/native/bpf.node`);
