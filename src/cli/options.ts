/** What several commands take: numbers in bounds, and the fast path. */
import { InvalidArgumentError, Option } from 'commander';
import { FASTPATHS } from '../fastpath/modes.js';

export const fastpathOption = (): Option =>
  new Option('--fastpath <mode>', 'carry decided flows in the kernel (eBPF)').choices([...FASTPATHS]);

/** Parses a whole number in these bounds. */
export const integer =
  (least: number, most: number) =>
  (text: string): number => {
    const n = Number(text);
    if (!/^\d+$/.test(text) || n < least || n > most)
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}`);
    return n;
  };

/** Parses a number above 0. */
export const positive = (text: string): number => {
  const n = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || n <= 0) throw new InvalidArgumentError('a number above 0');
  return n;
};
