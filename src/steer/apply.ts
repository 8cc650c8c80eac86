/**
 * Applies a {@link Steering}, records it under the run directory, and removes it again: on stop, or at the next start
 * of an instance that was killed.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import {
  markOf,
  marksIn,
  mostServers,
  type NextHops,
  nextHopArguments,
  nextHopsTable,
  nextHopsText,
} from './next-hops.js';
import {
  LOCAL_RULE_MOVED,
  nftText,
  routeArguments,
  ruleArguments,
  type Steering,
  TUN_ADDRESS,
  tableName,
  tunSysctls,
} from './plan.js';
import {
  type Applied,
  forgetRecord,
  type Hops,
  isAlive,
  ownNamespace,
  RUN_DIRECTORY,
  readRecord,
  startTime,
} from './record.js';
import {
  changedTable,
  type Deviation,
  deviationsOf,
  listRules,
  listTable,
  moveLocal,
  removalOf,
  sysctlDeviationsOf,
} from './standing.js';
import { attempt, attemptBatch, batch, command, readSysctl, writeSysctl } from './tools.js';
import { applySources, applyV6, deviationsV6, removeV6, routeV6 } from './v6.js';

export class Steerer {
  readonly #directory: string;
  #applied: Applied | undefined;
  #nft = '';
  #routes = '';
  #hopsText = '';
  #steering: Steering | undefined;
  /** The instance's tables as the kernel listed them after they were loaded. */
  readonly #baselines = new Map<string, string>();
  #mayHaveChanged = false;
  /** The servers of a killed predecessor, because existing connections still use their numbers. */
  #left: Hops | undefined;

  constructor(readonly instance: string) {
    this.#directory = `${RUN_DIRECTORY}/${instance}`;
  }

  /**
   * Claims the instance's name, and removes what a killed predecessor left.
   * @throws FirstackError FSA_INSTANCE_RUNNING
   */
  async claim(): Promise<void> {
    const left = this.#read();
    if (left === undefined) return;
    if (isAlive(left.pid, left.started))
      throw new FirstackError(
        'FSA_INSTANCE_RUNNING',
        `instance ${this.instance} is running already (pid ${left.pid})`,
      );
    this.#applied = { ...left, hops: undefined };
    await this.remove();
    this.#left = left.hops;
    // The predecessor's servers stay recorded until it is known whether they are still wanted.
    if (left.hops !== undefined) this.#write({ ...left, sysctls: [], movedLocal: false });
  }

  /** Applies everything at the first call; later only the nftables table, if it changed. The TUN must exist. */
  async apply(steering: Steering): Promise<void> {
    if (this.#applied === undefined) await this.#begin(steering);
    else if (routeArguments(steering).join() !== this.#routes) await this.#route(steering);
    this.#applySysctls(steering.sysctls);
    await this.#applyHops(steering.instance, steering.nextHops);
    if (steering.v6 === true && this.#applied!.v6 !== true) {
      this.#write(Object.assign(this.#applied!, { v6: true }));
      await applyV6(steering);
    }
    await this.#applySources(steering);
    const text = nftText(steering);
    if (text !== this.#nft) await this.#loadTable(text);
    this.#steering = steering;
  }

  async #applySources(s: Steering): Promise<void> {
    const [before, wanted] = [this.#applied!.v6Sources ?? [], s.v6Sources ?? []];
    if (JSON.stringify(before) === JSON.stringify(wanted)) return;
    this.#write(Object.assign(this.#applied!, { v6Sources: [...before, ...wanted] }));
    await applySources(s, before, wanted);
    this.#write(Object.assign(this.#applied!, { v6Sources: wanted }));
  }

  async #loadTable(text: string): Promise<void> {
    await command('nft', ['-f', '-'], text);
    this.#nft = text;
    this.#baselines.delete(tableName(this.instance));
  }

  /** Notes that another program changed nftables rules: the next look compares every table. */
  suspectTables(): void {
    this.#mayHaveChanged = true;
  }

  /** What does not stand as it was applied: of everything, or of what changes without a message of the kernel. */
  async deviations(isWhole: boolean): Promise<Deviation[]> {
    const s = this.#steering;
    if (s === undefined || this.#applied === undefined) return [];
    const tables = await this.#tableDeviations(s, isWhole);
    if (!isWhole) return [...tables, ...sysctlDeviationsOf(s)];
    const v6 = this.#applied.v6 === true ? await deviationsV6(s) : [];
    return [...tables, ...v6, ...(await deviationsOf(s, this.#applied.hops?.numbers ?? {}))];
  }

  async #tableDeviations(s: Steering, isWhole: boolean): Promise<Deviation[]> {
    const tables = [[tableName(s.instance), () => this.#loadTable(this.#nft)] as const];
    if (s.nextHops !== undefined)
      tables.push([nextHopsTable(s.instance), () => this.#loadHops(this.#hopsText)]);
    const suspected = this.#mayHaveChanged;
    this.#mayHaveChanged = false;
    const out: Deviation[] = [];
    for (const [name, load] of tables) {
      if (!isWhole && !suspected && this.#baselines.has(name)) continue;
      let listed = await listTable(name);
      const before = this.#baselines.get(name);
      if (before === undefined && listed !== '') {
        // It may have been changed between its loading and this first look: then it is loaded once more.
        if (suspected) {
          await load();
          listed = await listTable(name);
        }
        this.#baselines.set(name, listed);
      } else if (listed === '' || listed !== before) out.push(changedTable(name, listed === '', load));
    }
    return out;
  }

  async #begin(s: Steering): Promise<void> {
    this.#applied = {
      pid: process.pid,
      started: startTime(process.pid),
      namespace: ownNamespace(),
      tun: s.tun,
      mark: s.mark,
      tunnelMark: s.tunnelMark,
      mask: s.mask,
      table: s.table,
      tunnelTable: s.tunnelTable,
      priority: s.priority,
      movedLocal: s.beforeLocal,
      sysctls: [],
      hops: this.#left,
    };
    this.#left = undefined;
    this.#write(this.#applied);
    try {
      for (const { key, value } of tunSysctls(s.tun)) writeSysctl(key, value);
      const listed = s.beforeLocal ? await listRules() : [];
      await batch('ip', [
        ['link', 'set', 'dev', s.tun, 'addrgenmode', 'none'],
        ['address', 'replace', TUN_ADDRESS, 'dev', s.tun, 'scope', 'link'],
        ['link', 'set', 'dev', s.tun, 'up'],
        ...routeArguments(s).map((route) => ['route', 'replace', ...route]),
        ...ruleArguments(s).map((rule) => ['rule', 'add', ...rule]),
        ...(s.beforeLocal ? moveLocal(listed, 0, LOCAL_RULE_MOVED) : []),
      ]);
      this.#routes = routeArguments(s).join();
    } catch (error) {
      await this.remove();
      throw error;
    }
  }

  /** Settings may be needed only once a service is known; each one's former value is on record before it is changed. */
  #applySysctls(wanted: Steering['sysctls']): void {
    const a = this.#applied!;
    const isWanted = (key: string): boolean => wanted.some((w) => w.key === key);
    const gone = a.sysctls.filter(({ key }) => !isWanted(key));
    const fresh = wanted.filter((w) => !a.sysctls.some(({ key }) => key === w.key));
    if (gone.length === 0 && fresh.length === 0) return;
    restoreSysctls(gone);
    const added = fresh.map(({ key }) => ({ key, before: readSysctl(key) }));
    a.sysctls = [...a.sysctls.filter(({ key }) => isWanted(key)), ...added];
    this.#write(a);
    for (const { key, value } of fresh) writeSysctl(key, value);
  }

  /** Servers keep their numbers. A removed server keeps its number too, because existing connections use it. */
  async #applyHops(instance: string, n: NextHops | undefined): Promise<void> {
    const a = this.#applied!;
    if (a.hops !== undefined && (n === undefined || !sameHops(a.hops, n))) {
      await this.#removeHops(a.hops);
      a.hops = undefined;
      this.#write(a);
    }
    if (n === undefined) return;
    a.hops ??= { mask: n.mask, table: n.table, priority: n.priority, numbers: {} };
    const { numbers } = a.hops;
    const fresh = n.servers.filter((address) => numbers[address] === undefined);
    if (Object.keys(numbers).length + fresh.length > mostServers(n.mask))
      await this.#freeNumbers(instance, n, a.hops);
    for (const address of n.servers) {
      if (numbers[address] !== undefined) continue;
      numbers[address] = leastFree(Object.values(numbers), mostServers(n.mask));
      this.#write(a);
      const { rule, route } = nextHopArguments(n, numbers[address], address);
      await command('ip', ['route', 'replace', ...route]);
      await command('ip', ['rule', 'add', ...rule]);
    }
    const text = nextHopsText(instance, n, new Map(Object.entries(numbers)));
    if (text !== this.#hopsText) await this.#loadHops(text);
  }

  async #loadHops(text: string): Promise<void> {
    const name = nextHopsTable(this.instance);
    // A table of another size cannot be changed. It is made anew, which loses its remembered connections; README.md
    // says so.
    if (!(await this.#load(text))) {
      await attempt('nft', ['delete', 'table', 'inet', name]);
      await command('nft', ['-f', '-'], text);
    }
    this.#hopsText = text;
    this.#baselines.delete(name);
  }

  /**
   * Frees numbers when they run short: those of servers that are no longer listed and that no remembered connection
   * uses.
   */
  async #freeNumbers(instance: string, n: NextHops, hops: Hops): Promise<void> {
    const used = new Set(n.servers);
    const listed = await command('nft', ['-j', 'list', 'map', 'inet', nextHopsTable(instance), 'flows']);
    const marks = new Set(marksIn(listed));
    for (const [address, number] of Object.entries(hops.numbers)) {
      if (used.has(address) || marks.has(markOf(n.mask, number))) continue;
      const { rule, table } = nextHopArguments(n, number, address);
      while (await attempt('ip', ['rule', 'del', ...rule]));
      await attempt('ip', ['route', 'flush', 'table', table]);
      delete hops.numbers[address];
    }
    this.#write(this.#applied!);
  }

  async #load(text: string): Promise<boolean> {
    return command('nft', ['-f', '-'], text).then(
      () => true,
      (error: Error) => {
        if (/File exists/.test(error.message)) return false;
        throw error;
      },
    );
  }

  async #removeHops(hops: Hops | undefined): Promise<void> {
    if (hops === undefined) return;
    await attempt('nft', ['delete', 'table', 'inet', nextHopsTable(this.instance)]);
    for (const [address, number] of Object.entries(hops.numbers)) {
      const { rule, table } = nextHopArguments(hops, number, address);
      while (await attempt('ip', ['rule', 'del', ...rule]));
      await attempt('ip', ['route', 'flush', 'table', table]);
    }
  }

  async #route(s: Steering): Promise<void> {
    await batch(
      'ip',
      routeArguments(s).map((route) => ['route', 'replace', ...route]),
    );
    if (this.#applied?.v6 === true) await routeV6(s);
    this.#routes = routeArguments(s).join();
  }

  /** Removes everything. Does nothing when nothing was applied. */
  async remove(): Promise<void> {
    const a = this.#applied;
    if (a === undefined) return;
    await attempt('nft', ['delete', 'table', 'inet', tableName(this.instance)]);
    const mayMoveBack = a.movedLocal && !this.#othersMovedLocal(a.namespace);
    await attemptBatch('ip', [
      ...removalOf(a, ruleArguments(a)),
      ...(mayMoveBack ? moveLocal(await listRules(), LOCAL_RULE_MOVED, 0) : []),
    ]);
    if (a.v6 === true) await removeV6(a, a.v6Sources ?? [], mayMoveBack);
    restoreSysctls(a.sysctls);
    await this.#removeHops(a.hops);
    forgetRecord(this.instance, 'steering.json');
    this.#applied = undefined;
    this.#nft = '';
    this.#hopsText = '';
    this.#steering = undefined;
    this.#baselines.clear();
  }

  #othersMovedLocal(namespace: number): boolean {
    if (!existsSync(RUN_DIRECTORY)) return false;
    return readdirSync(RUN_DIRECTORY).some((name) => {
      if (name === this.instance) return false;
      const other = readRecord(name);
      return other?.movedLocal === true && other.namespace === namespace && isAlive(other.pid, other.started);
    });
  }

  #read(): Applied | undefined {
    return readRecord(this.instance);
  }

  #write(applied: Applied): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o755 });
    writeFileSync(`${this.#directory}/steering.json`, JSON.stringify(applied));
  }
}

function restoreSysctls(sysctls: Applied['sysctls']): void {
  for (const { key, before } of sysctls) {
    try {
      writeSysctl(key, before);
    } catch {
      // The interface to which the setting belonged no longer exists.
    }
  }
}

type HopsPlace = Pick<Hops, 'mask' | 'table' | 'priority'>;

function sameHops(a: HopsPlace, b: HopsPlace): boolean {
  return a.mask === b.mask && a.table === b.table && a.priority === b.priority;
}

/** @throws FirstackError FSA_CONFIG_VALUE when every number is taken */
function leastFree(taken: readonly number[], most: number): number {
  for (let n = 1; n <= most; n++) if (!taken.includes(n)) return n;
  throw new FirstackError('FSA_CONFIG_VALUE', `steering.serverMask numbers ${most} servers at most`);
}
