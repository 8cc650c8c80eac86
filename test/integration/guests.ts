/**
 * Debian machines for the tests: one new root made by debootstrap, and a copy of it per machine, each booted with its
 * own systemd in the network namespace of a laboratory's host (`test/support/boot-root.sh`).
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onEnd } from '../../src/lab/ending.js';
import type { Lab } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/network.js';
import { namespaceRoot } from '../../src/lab/paths.js';
import {
  identify,
  mustRun,
  type Output,
  type ProcessId,
  run,
  signal,
  waitUntil,
} from '../../src/lab/process.js';

const SUITE = 'bookworm';
/** The packages of a bare Debian 12 host beyond its minimum. */
const BARE = ['ca-certificates', 'iproute2', 'openssh-server', 'procps', 'systemd', 'systemd-sysv'];
/** A directory on a disk that is not mounted `nodev`, as `/tmp` may be. */
const PLACE = '/var/tmp';
const BOOT = fileURLToPath(new URL('../support/boot-root.sh', import.meta.url));
const ENVIRONMENT = ['env', '-i', 'HOME=/root', 'LANG=C.UTF-8', 'DEBIAN_FRONTEND=noninteractive'];
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The Debian mirrors of this machine's own apt, in the form of sources.list. */
async function sources(): Promise<string[]> {
  const format = '$(CREATED_BY) $(CODENAME) deb $(REPO_URI) $(RELEASE) $(COMPONENT)';
  const lines = (await mustRun(['apt-get', 'indextargets', '--format', format])).split('\n');
  const wanted = lines.filter((l) => l.startsWith(`Packages ${SUITE}`) && l.endsWith(' main'));
  return [...new Set(wanted.map((l) => l.split(' ').slice(2).join(' ')))];
}

/** Bare roots under one directory: made once, copied per machine, and removed with all machines that were booted. */
export class Roots {
  readonly directory = mkdtempSync(`${PLACE}/firstack-roots-${process.pid}-`);
  readonly #guests: Guest[] = [];
  readonly #forget = onEnd({ orderly: () => this.remove(), atOnce: () => this.#removeAtOnce() });

  constructor() {
    for (const name of readdirSync(PLACE)) {
      // The directory of a killed test run.
      const owner = /^firstack-roots-(\d+)-/.exec(name)?.[1];
      if (owner !== undefined && identify(Number(owner)) === undefined)
        rmSync(`${PLACE}/${name}`, { recursive: true, force: true });
    }
  }

  get base(): string {
    return `${this.directory}/base`;
  }

  /**
   * The bare root. The packages that `apt` will install later are in its cache, because the laboratory has no route
   * to other networks.
   */
  async make(deb: string, later: string[], publicKey: string): Promise<void> {
    const { base } = this;
    const list = await sources();
    const mirror = list.find((l) => l.split(' ')[2] === SUITE)!.split(' ')[1];
    await mustRun([
      // In its own mount namespace, so that mounts that it makes end with it.
      ...['unshare', '--mount', 'env', `TMPDIR=${this.directory}`, 'debootstrap', '--variant=minbase'],
      ...[`--include=${BARE.join(',')}`, SUITE, base, mirror],
    ]);
    writeFileSync(`${base}/etc/apt/sources.list`, `${list.join('\n')}\n`);
    // Proxy settings and the like of this machine, for as long as the root is prepared on it.
    const settings = (await mustRun(['apt-config', 'dump', 'Acquire'])).split('\n');
    const here = `${base}/etc/apt/apt.conf.d/99here`;
    writeFileSync(here, settings.filter((l) => /^Acquire::https?:.* "[^"]+";$/.test(l)).join('\n'));
    cpSync(deb, `${base}/var/tmp/firstack.deb`);
    const apt = (...args: string[]) =>
      mustRun(['chroot', base, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qy', ...args]);
    await apt('clean');
    await apt('update');
    await apt('install', '--download-only', '/var/tmp/firstack.deb', ...later);
    rmSync(`${base}/var/tmp/firstack.deb`);
    rmSync(here);
    writeFileSync(`${base}/etc/resolv.conf`, 'nameserver 127.0.0.1\n');
    writeFileSync(`${base}/etc/machine-id`, '');
    await mustRun(['install', '-Dm600', publicKey, `${base}/root/.ssh/authorized_keys`]);
    appendFileSync(`${base}/etc/ssh/sshd_config`, 'UseDNS no\n');
  }

  async boot(lab: Lab, host: string): Promise<Guest> {
    const root = `${this.directory}/${host}`;
    await mustRun(['cp', '-a', '--reflink=auto', this.base, root]);
    writeFileSync(`${root}/etc/hostname`, `${host}\n`);
    const guest = new Guest(lab, host, root);
    this.#guests.push(guest);
    await guest.start();
    return guest;
  }

  async remove(): Promise<void> {
    for (const guest of this.#guests) guest.kill();
    await waitUntil(() => this.#guests.every((g) => g.forgetGroup()), 5000);
    await mustRun(['rm', '-rf', this.directory]);
    this.#forget();
  }

  #removeAtOnce(): void {
    for (const guest of this.#guests) guest.kill();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    // They have ended by now.
    for (const guest of this.#guests) guest.forgetGroup();
  }
}

export class Guest {
  readonly #group: string;
  #boot: ProcessId | undefined;
  #init: ProcessId | undefined;

  constructor(
    readonly lab: Lab,
    readonly host: string,
    readonly root: string,
  ) {
    const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
    const unified = mounts.map((l) => l.split(' ')).find((f) => f[2] === 'cgroup2');
    if (unified === undefined) throw new Error('there is no cgroup2 hierarchy to boot a systemd in');
    this.#group = `${unified[1]}/${namespaceOf(lab.name, host)}`;
  }

  /** Boots the machine, and waits until everything that it starts by itself has started. */
  async start(): Promise<void> {
    const namespace = `${namespaceRoot}/${namespaceOf(this.lab.name, this.host)}`;
    const child = spawn('sh', [BOOT, this.root, namespace, this.#group, this.host], {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (part) => {
      said += part;
    });
    // If this process dies, the machine ends with the laboratory at the latest.
    this.#boot = this.lab.state.noteProcess(`guest-${this.host}`, child.pid);
    const children = `/proc/${child.pid}/task/${child.pid}/children`;
    const up = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`${this.host} did not boot: ${said}`);
      this.#init = identify(Number(readFileSync(children, 'utf8')));
      if (this.#init === undefined) return false;
      const state = (await this.run('systemctl is-system-running')).stdout.trim();
      return state === 'running' || state === 'degraded';
    };
    if (!(await waitUntil(up, 60_000, 100))) throw new Error(`${this.host} did not come up: ${said}`);
  }

  /** Runs shell text on the machine, as root, and waits for its end. */
  run(script: string, timeoutMs = 90_000): Promise<Output> {
    const into = ['nsenter', '-t', String(this.#init?.pid), '-a', ...ENVIRONMENT, PATH];
    return run([...into, 'sh', '-c', `cd && set -e\n${script}`], { timeoutMs });
  }

  /** @returns its output @throws an Error with its output when it fails */
  async must(script: string): Promise<string> {
    const { status, stdout, stderr } = await this.run(script);
    if (status !== 0) throw new Error(`${this.host}: ${script}\nended with ${status}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** A property of a unit, from systemd. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.must(`systemctl show -p ${property} --value ${unit}`)).trim();
  }

  kill(): void {
    // When process 1 of a pid namespace ends, all its processes and mounts end too.
    for (const id of [this.#init, this.#boot]) if (id !== undefined) signal(id, 'SIGKILL');
  }

  /** @returns whether its cgroups no longer exist */
  forgetGroup(): boolean {
    spawnSync('find', [this.#group, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';'], {
      stdio: 'ignore',
    });
    try {
      readdirSync(this.#group);
      return false;
    } catch {
      return true;
    }
  }
}
