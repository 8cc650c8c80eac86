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

/** Parses a family of addresses. */
export const family = (text: string): 4 | 6 => {
  if (text !== '4' && text !== '6') throw new InvalidArgumentError('4 or 6');
  return text === '4' ? 4 : 6;
};

/** Parses a number above 0. */
export const positive = (text: string): number => {
  const n = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || n <= 0) throw new InvalidArgumentError('a number above 0');
  return n;
};
