/** The progress bar on stderr: redrawn in place on a terminal, elsewhere a line at longer intervals. */
import type { WriteStream } from 'node:tty';
import type { Counts } from './recording.js';

const WIDTH = 24;
const REDRAW_MS = 200;
const LINE_MS = 1000;

/** @returns a function that ends it */
export function follow(
  counts: Readonly<Counts>,
  scheduled: number,
  lastsS: number,
  out: Pick<WriteStream, 'write'> & { isTTY?: boolean },
): () => void {
  const begun = performance.now();
  const draw = (end: string) => {
    const passedS = Math.min(lastsS, (performance.now() - begun) / 1000);
    out.write(`${out.isTTY ? '\r' : ''}${bar(counts, scheduled, passedS, lastsS)}${end}`);
  };
  const timer = setInterval(draw, out.isTTY ? REDRAW_MS : LINE_MS, out.isTTY ? '' : '\n');
  return () => {
    clearInterval(timer);
    draw('\n');
  };
}

/** `[######……] 12.0/30.0 s  1234/3000 sent  open 12  failed 0  missed 0`, with a width that never shrinks. */
export function bar(counts: Readonly<Counts>, scheduled: number, passedS: number, lastsS: number): string {
  const full = Math.round((passedS / lastsS) * WIDTH);
  const { started, open, failed, missed } = counts;
  const sent = `${String(started).padStart(String(scheduled).length)}/${scheduled} sent`;
  const drawn = '#'.repeat(full).padEnd(WIDTH, '.');
  return (
    `load: [${drawn}] ${passedS.toFixed(1)}/${lastsS.toFixed(1)} s  ${sent}  ` +
    `open ${String(open).padEnd(5)} failed ${String(failed).padEnd(5)} missed ${String(missed).padEnd(5)}`
  );
}
