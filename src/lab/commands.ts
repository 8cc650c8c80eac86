/** `firstack lab run|up|exec|down`: results on stdout, one line per step on stderr, an exit code. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { EXIT, FirstackError } from '../errors.js';
import type { Fastpath } from '../fastpath/modes.js';
import type { Configuration } from '../race/records.js';
import type { Race, Release } from '../race/release.js';
import { type Calibration, calibrate, calibrationLine, calibrationTable } from './calibrate.js';
import { Lab, requireRoot } from './lab.js';
import { namespaceOf } from './network.js';
import { namespaceRoot } from './paths.js';
import { inNamespace } from './process.js';
import { type Measurement, measure } from './requests.js';
import { LabState } from './state.js';

export { labDemo } from './demo.js';

export interface LabRunOptions {
  configuration: Configuration | 'all';
  requests: number;
  concurrency: number;
  json: boolean;
  topology?: string;
  name: string;
  release: Release;
  race: Race;
  registry: 'redis' | 'file';
  fastpath: Fastpath;
}

export interface LabRunResult extends Omit<Measurement, 'complaints'> {
  configuration: Configuration;
  race: Race;
  release: Release;
  calibrated: boolean;
  calibration: Calibration['paths'];
}

const progress = (line: string) => process.stderr.write(`lab: ${line}\n`);

/** @returns 0 when every request was answered by the expected machine, else 1 */
export async function labRun(o: LabRunOptions): Promise<number> {
  const configurations: Configuration[] = o.configuration === 'all' ? ['A', 'B', 'C'] : [o.configuration];
  const results: LabRunResult[] = [];
  let complaints = 0;
  const lab = await Lab.create({ name: o.name, topology: o.topology, roles: false, progress });
  try {
    const calibration = await calibrate(lab.name, lab.topology);
    progress(calibrationLine(calibration));
    for (const [n, configuration] of configurations.entries()) {
      if (n > 0) {
        await lab.stopRoles();
        await lab.restartWebServers();
      }
      await lab.startRoles({
        configuration,
        race: o.race,
        release: o.release,
        registry: o.registry,
        fastpath: o.fastpath,
      });
      const { requests, concurrency, race, release } = o;
      const measurement = await measure(lab, { race, release, requests, concurrency }, (done) => {
        if (done % 50 === 0 || done === requests) progress(`${configuration}: ${done}/${requests} requests`);
      });
      for (const complaint of measurement.complaints) progress(`${configuration}: ${complaint}`);
      complaints += measurement.complaints.length;
      results.push(resultOf(configuration, o, measurement, calibration));
    }
  } finally {
    progress('removing everything');
    await lab.down();
  }
  process.stdout.write(o.json ? `${JSON.stringify(results, null, 2)}\n` : `${summary(results).join('\n')}\n`);
  return complaints === 0 ? EXIT.ok : EXIT.expectation;
}

function resultOf(
  configuration: Configuration,
  o: LabRunOptions,
  m: Measurement,
  calibration: Calibration,
): LabRunResult {
  return {
    configuration,
    race: o.race,
    release: o.release,
    requests: m.requests,
    ok: m.ok,
    servedBy: m.servedBy,
    expected: m.expected,
    connectMs: m.connectMs,
    losersReset: m.losersReset,
    calibrated: calibration.calibrated,
    calibration: calibration.paths,
  };
}

function summary(results: LabRunResult[]): string[] {
  const lines = results.map((r) => {
    const served = Object.entries(r.servedBy)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
    return (
      `${r.configuration}: ${r.ok}/${r.requests} ok, served by ${served || 'no machine'} (expected ${r.expected}), ` +
      `connect p50 ${r.connectMs.p50} ms, p95 ${r.connectMs.p95} ms, ${r.losersReset} losers reset`
    );
  });
  const { calibrated, calibration } = results[0];
  return [
    ...lines,
    'one-way delays, requested/measured in ms:',
    ...calibrationTable({ calibrated, paths: calibration }),
  ];
}

export interface LabUpOptions {
  configuration: Configuration;
  topology?: string;
  name: string;
  race: Race;
  release: Release;
  registry: 'redis' | 'file';
  fastpath: Fastpath;
}

/** Leaves the laboratory running, and prints its hosts and their addresses. */
export async function labUp(o: LabUpOptions): Promise<number> {
  const lab = await Lab.create({ ...o, progress });
  lab.leaveRunning();
  const { hosts } = lab.state.record;
  for (const [host, addresses] of Object.entries(hosts)) {
    process.stdout.write(`${host.padEnd(8)} ${namespaceOf(o.name, host).padEnd(32)} ${addresses}\n`);
  }
  progress(`up; state and logs in ${lab.directory}`);
  const flag = o.name === 'default' ? '' : ` --name ${o.name}`;
  progress(`try: lab exec${flag} client -- curl -i http://${hosts.server.split(',')[0]}/`);
  return EXIT.ok;
}

/** Runs a command on a host, in this terminal. @returns the command's own exit status */
export async function labExec(o: { name: string; host: string; command: string[] }): Promise<number> {
  requireRoot();
  if (o.command.length === 0) throw new FirstackError('FSA_USAGE', 'lab exec: which command?');
  const { record } = LabState.existing(o.name);
  const namespace = namespaceOf(o.name, o.host);
  if (record.hosts[o.host] === undefined) {
    const hosts = Object.keys(record.hosts).join(', ');
    throw new FirstackError('FSA_USAGE', `no host '${o.host}' (hosts: ${hosts})`);
  }
  if (!existsSync(`${namespaceRoot}/${namespace}`)) {
    throw new FirstackError('FSA_LAB_UNKNOWN', `laboratory '${o.name}' is down: ${namespace} does not exist`);
  }
  const [command, ...args] = inNamespace(namespace, o.command);
  const child = spawn(command, args, { stdio: 'inherit' });
  // A Ctrl-C reaches the command by itself, because it shares this terminal; the command decides what to do.
  const stay = () => {};
  const pass = () => child.kill('SIGTERM');
  process.on('SIGINT', stay).on('SIGTERM', pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (status, signal) => resolve(status ?? (signal === 'SIGINT' ? 130 : 143)));
    });
  } finally {
    process.off('SIGINT', stay).off('SIGTERM', pass);
  }
}

export async function labDown(o: { name: string }): Promise<number> {
  requireRoot();
  await LabState.existing(o.name).remove();
  progress(`'${o.name}' is down`);
  return EXIT.ok;
}
