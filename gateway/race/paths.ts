/** What probes tell of the paths to replicas (`path-probes.ts`): for status, metrics and events. */
import type { Metric } from '../../src/admin/metrics.js';
import type { Events } from '../../src/events/events.js';
import { formatV4 } from '../../src/wire/address.js';
import { TUNNELLED } from '../../src/wire/path-probe.js';
import type { Fleet } from './fleet.js';
import { MOST_BYTES, PATH_WORDS, pathWords } from './path-probes.js';

/**
 * open: full-sized packets arrive, both ways; narrow: only smaller ones do; silent: probes are not answered any more;
 * mute: none was ever answered, as by a machine without this software, or with an older version; unknown: not yet
 * probed.
 */
export type PathState = 'unknown' | 'mute' | 'open' | 'narrow' | 'silent';

export interface PathReport {
  address: string;
  /** The replicas with this address. */
  machines: readonly string[];
  /** How packets travel. */
  form: 'plain' | 'tunnel';
  state: PathState;
  /** The largest packet that arrives at the machine, and here, in bytes with all headers; null while not known. */
  mtuOut: number | null;
  mtuIn: number | null;
  rttMs: number | null;
  /** Rounds of probes without an answer since the last one. */
  unanswered: number;
}

/** So many rounds without an answer are no chance. */
const SILENT = 3;

/** @param wanMtu the largest packet that the interfaces send: {@link PathReport.mtuOut} of an open path */
export function readPaths(memory: Float64Array, fleet: Fleet, wanMtu: number): PathReport[] {
  const reports: PathReport[] = [];
  const ids = fleet.idsByAddress;
  for (let w = 0; w < memory.length; w += PATH_WORDS) {
    if (memory[w + pathWords.address] === 0) continue;
    const word = (name: keyof typeof pathWords): number => memory[w + pathWords[name]];
    const address = formatV4(word('address'));
    const [out, back] = [word('mtuOut'), word('mtuIn')];
    const known = (value: number): number | null => (value === 0 ? null : value);
    reports.push({
      address,
      machines: [...(ids.get(address) ?? [])],
      form: word('form') === TUNNELLED ? 'tunnel' : 'plain',
      state: stateOf(word('answered'), word('silent'), out, back, wanMtu),
      mtuOut: known(out),
      mtuIn: known(back),
      rttMs: word('answered') === 0 ? null : word('rttUs') / 1000,
      unanswered: word('silent'),
    });
  }
  return reports;
}

function stateOf(answered: number, silent: number, out: number, back: number, wanMtu: number): PathState {
  if (answered === 0) return silent >= SILENT ? 'mute' : 'unknown';
  if (silent >= SILENT) return 'silent';
  if (out === 0) return 'unknown';
  // Larger packets than a probe can have are not tried.
  return Math.min(out, back) < Math.min(wanMtu, MOST_BYTES) ? 'narrow' : 'open';
}

const ways = { plain: 'plain packets', tunnel: 'packets in a tunnel (protocol 4)' } as const;

/** Says each change of a path once. */
export class PathWatch {
  readonly #said = new Map<string, string>();

  constructor(readonly events: Pick<Events, 'say'>) {}

  look(paths: readonly PathReport[]): void {
    const present = new Set<string>();
    for (const p of paths) {
      const key = `${p.address} ${p.form}`;
      present.add(key);
      const told = p.state === 'narrow' ? `narrow ${p.mtuOut} ${p.mtuIn}` : p.state;
      const before = this.#said.get(key);
      if (told === before || p.state === 'unknown') continue;
      this.#said.set(key, told);
      this.#say(p, before);
    }
    for (const key of this.#said.keys()) if (!present.has(key)) this.#said.delete(key);
  }

  #say(p: PathReport, before: string | undefined): void {
    const who = p.machines.join(', ');
    const subject = `${who}/${p.form}`;
    const evidence = { ...p };
    const say = (level: 'info' | 'warn', message: string): void =>
      this.events.say(level, 'path', subject, message, evidence);
    if (p.state === 'narrow')
      say(
        'info',
        `path to ${who} (${p.address}): packets of ${p.mtuOut} bytes arrive there, of ${p.mtuIn} here: connections announce a smaller MSS`,
      );
    else if (p.state === 'silent')
      say(
        'warn',
        `path to ${who} (${p.address}): ${p.unanswered} probes without an answer: ${ways[p.form]} do not arrive there, or do not come back`,
      );
    else if (p.state === 'open' && before !== undefined)
      say('info', `path to ${who} (${p.address}): full-sized ${ways[p.form]} arrive again, both ways`);
  }
}

export function pathMetrics(paths: readonly PathReport[]): Metric[] {
  const labels = (p: PathReport): { machine: string; form: string } => ({
    machine: p.machines.join(','),
    form: p.form,
  });
  const mtus = paths.flatMap((p) =>
    (['out', 'in'] as const).flatMap((way) => {
      const value = way === 'out' ? p.mtuOut : p.mtuIn;
      return value === null ? [] : [{ labels: { ...labels(p), way }, value }];
    }),
  );
  return [
    {
      name: 'firstack_path_mtu_bytes',
      help: 'The largest packet that probes show to arrive, by machine, form and way.',
      type: 'gauge',
      samples: mtus,
    },
    {
      name: 'firstack_path_unanswered',
      help: 'Rounds of path probes without an answer since the last one, by machine and form.',
      type: 'gauge',
      samples: paths.map((p) => ({ labels: labels(p), value: p.unanswered })),
    },
  ];
}
