/** The commands of the operator's guide: every fenced block of shell, by section, with the host that it is for. */
import { readFileSync } from 'node:fs';

export interface Block {
  /** The heading above it. */
  section: string;
  /** The commands in order. */
  hosts: string[];
  script: string;
  line: number;
}

/** @throws Error for a block that does not name its host, so that no block is left out */
export function readGuide(file: string): Block[] {
  const blocks: Block[] = [];
  let section = '';
  let open: { script: string[]; line: number; language: string } | undefined;
  readFileSync(file, 'utf8')
    .split('\n')
    .forEach((text, i) => {
      const fence = /^```(\w*)$/.exec(text);
      if (fence === null) {
        if (open !== undefined) open.script.push(text);
        else section = /^## (.*)$/.exec(text)?.[1] ?? section;
      } else if (open === undefined) {
        open = { script: [], line: i + 1, language: fence[1] };
      } else {
        const { script, line, language } = open;
        open = undefined;
        if (language === '') return;
        const where = /^# on: (.+)$/.exec(script[0] ?? '');
        if (language !== 'sh' || where === null) throw new Error(`${file}:${line}: where is this to be run?`);
        blocks.push({ section, hosts: where[1].split(', '), script: script.slice(1).join('\n'), line });
      }
    });
  return blocks;
}
