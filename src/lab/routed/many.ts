/** Members m1 … mN of one router, which are addresses only: for the load of many sessions. */
export const manyName = (n: number): string => `m${n}`;
export const manyAddress = (n: number): string => `198.19.${n >> 8}.${n & 255}`;
