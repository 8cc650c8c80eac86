// Shows that bad input gets one clear error each, with its code, that all errors of a file are reported at once, and
// that nothing is changed.
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { freshName } from './lab-support.js';

interface Outcome {
  status: number | null;
  errors: string[];
  stdout: string;
}

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.create({ name: freshName(), seed: 1, roles: false });
  lab.roles.prepare({
    configuration: 'A',
    race: 'origin',
    release: 'synchronized',
    registry: 'redis',
    fastpath: 'auto',
    log: 'warn',
  });
  // The state of newly made links settles within a second or two.
  const settled = async () => {
    const before = await state('gateway');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return (await state('gateway')) === before;
  };
  expect(await waitUntil(settled, 20_000)).toBe(true);
});
afterAll(async () => {
  await lab?.down();
});

type File = Record<string, unknown>;
const fileOf = (host: string): File => parse(readFileSync(lab.roles.configFile(host), 'utf8'));

async function state(host: string): Promise<string> {
  const look =
    'nft list ruleset; ip -o link | sed "s/ qdisc.*//"; ip rule; ip -4 route show table all; sysctl -a 2>/dev/null | grep -E "rp_filter|arp_|forward|accept_local"';
  return (await lab.exec(host, ['sh', '-c', look])).stdout;
}

/** Runs a host's role with a changed file; it must end by itself and leave the host unchanged. */
async function refused(
  host: string,
  change: (file: File) => void,
  more: { args?: string[]; prefix?: string[]; registry?: string } = {},
): Promise<Outcome> {
  const file = fileOf(host);
  change(file);
  const path = `${lab.directory}/${host}-bad.yaml`;
  writeFileSync(path, stringify(file));
  return run(host, path, more);
}

async function run(
  host: string,
  path: string,
  more: { args?: string[]; prefix?: string[]; registry?: string } = {},
): Promise<Outcome> {
  const argv = lab.roles.argv(host);
  argv[argv.indexOf('--config-file') + 1] = path;
  if (more.registry !== undefined) argv[argv.indexOf('--registry') + 1] = more.registry;
  const before = await state(host);
  const result = await lab.exec(host, [...(more.prefix ?? []), ...argv, ...(more.args ?? [])], {
    timeoutMs: 20_000,
  });
  expect(await state(host)).toBe(before);
  const errors = result.stderr.split('\n').filter((l) => l !== '');
  return { status: result.status, errors, stdout: result.stdout };
}

function expectOne(outcome: Outcome, status: number, code: string, text: string | RegExp): void {
  expect(outcome.errors.length, outcome.errors.join('\n')).toBe(1);
  expect(outcome.errors[0]).toMatch(new RegExp(`^${code}: `));
  expect(outcome.errors[0]).toMatch(text);
  expect(outcome.status).toBe(status);
  expect(outcome.stdout).toBe('');
}

describe('files', () => {
  it('an unknown key, with a suggestion and its place', async () => {
    const o = await refused('gateway', (f) => {
      f.prefixs = ['10.0.0.0/8'];
    });
    expectOne(
      o,
      78,
      'FSA_CONFIG_UNKNOWN_KEY',
      /gateway-bad\.yaml:\d+:\d+: unknown key 'prefixs' \(did you mean 'prefixes'\?\)/,
    );
  });

  it('all errors of a file at once, each on its line', async () => {
    const o = await refused('origin', (f) => {
      f.lann = f.lan;
      f.address = 17;
      f.release = 'later';
      (f.tun as File).queueLength = 'long';
      delete f.services;
    });
    expect(o.status).toBe(78);
    expect(o.errors.map((e) => e.split(':')[0]).sort()).toEqual(
      ['FSA_CONFIG_MISSING', 'FSA_CONFIG_TYPE', 'FSA_CONFIG_TYPE', 'FSA_CONFIG_UNKNOWN_KEY'].sort(),
    );
  });

  it('a value that is not in the list', async () => {
    const p = await refused('gateway', (f) => {
      f.log = 'loud';
    });
    expectOne(p, 78, 'FSA_CONFIG_VALUE', /'log' must be one of trace, debug/);
  });

  it('not YAML', async () => {
    const path = `${lab.directory}/broken.yaml`;
    writeFileSync(path, 'instance: [\n');
    const o = await run('gateway', path);
    expect(o.status).toBe(78);
    expect(o.errors[0]).toMatch(/^FSA_CONFIG_SYNTAX: .*broken\.yaml:\d+:\d+/);
  });

  it('no such file', async () => {
    expectOne(await run('r1', `${lab.directory}/none.yaml`), 78, 'FSA_CONFIG_UNREADABLE', /no such file/);
  });

  it('overlapping prefixes', async () => {
    const o = await refused('gateway', (f) => {
      f.prefixes = ['192.0.2.0/24', '192.0.2.128/25'];
    });
    expectOne(o, 78, 'FSA_PREFIX_OVERLAP', /192\.0\.2\.128\/25 overlaps 192\.0\.2\.0\/24/);
  });

  it('a key file that other users may read, and one of the wrong kind', async () => {
    const open = `${lab.directory}/open.key`;
    writeFileSync(open, readFileSync(`${lab.directory}/master.key`));
    chmodSync(open, 0o644);
    const o = await refused('r1', (f) => {
      f.tag = { keyFile: open };
    });
    expectOne(o, 78, 'FSA_KEY_INVALID', /other users may read/);
    const p = await refused('r1', (f) => {
      f.tag = { keyFile: `${lab.directory}/gateway.key` };
    });
    expectOne(p, 78, 'FSA_KEY_INVALID', /a master key file is needed/);
  });
});

describe('the host', () => {
  const undo: string[][] = [];
  async function withHost<T>(
    host: string,
    doIt: string[],
    undoIt: string[],
    body: () => Promise<T>,
  ): Promise<T> {
    expect((await lab.exec(host, doIt)).status).toBe(0);
    undo.push(undoIt);
    try {
      return await body();
    } finally {
      expect((await lab.exec(host, undoIt)).status).toBe(0);
    }
  }
  const same = () => {};

  it('forwarding off', async () => {
    for (const host of ['gateway', 'origin']) {
      const o = await withHost(
        host,
        ['sysctl', '-qw', 'net.ipv4.ip_forward=0'],
        ['sysctl', '-qw', 'net.ipv4.ip_forward=1'],
        () => refused(host, same),
      );
      expectOne(o, 69, 'FSA_FORWARDING_OFF', /ip_forward/);
    }
  });

  it('a forward chain that would drop', async () => {
    const table =
      'add table ip fw; add chain ip fw forward { type filter hook forward priority 0; policy drop; }; add rule ip fw forward ct state established,related accept';
    const o = await withHost('gateway', ['nft', table], ['nft', 'delete table ip fw'], () =>
      refused('gateway', same),
    );
    expectOne(o, 69, 'FSA_FORWARD_DROPS', /ip fw forward: its policy is drop/);
  });

  it("a forward chain that lets a role's packets pass is accepted", async () => {
    const table =
      'add table ip fw; add chain ip fw forward { type filter hook forward priority 0; policy drop; }; add rule ip fw forward ct state established,related,untracked accept';
    const o = await withHost('gateway', ['nft', table], ['nft', 'delete table ip fw'], () =>
      refused('gateway', same, { args: ['--check'] }),
    );
    expect(o.errors).toEqual([]);
    expect(o.status).toBe(0);
  });

  it('masquerading', async () => {
    const table =
      'add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post oifname "wan0" masquerade';
    const o = await withHost('gateway', ['nft', table], ['nft', 'delete table ip nat'], () =>
      refused('gateway', same),
    );
    expectOne(o, 69, 'FSA_MASQUERADE', /ip nat post translates sources on wan0/);
  });

  it('a missing interface', async () => {
    const o = await refused('gateway', (f) => {
      f.wan = ['eth7'];
    });
    expectOne(o, 69, 'FSA_INTERFACE_MISSING', /wan: there is no interface 'eth7' \(there are: .*wan0/);
  });

  it.each([
    ['address', '198.18.99.9'],
    ['address6', '2001:db8:99::9'],
  ])('an %s that is not its own', async (key, address) => {
    const o = await refused('r1', (f) => {
      f[key] = address;
    });
    expectOne(o, 69, 'FSA_ADDRESS_NOT_LOCAL', new RegExp(`${address} is not an address of this host`));
  });

  it('a server that is not adjacent', async () => {
    const o = await refused('origin', (f) => {
      (f.services as { servers?: object[] }[])[0].servers = [{ address: '198.18.99.9' }];
    });
    expectOne(o, 69, 'FSA_SERVER_NOT_ADJACENT', /server 198\.18\.99\.9 is on no network of lan0/);
  });

  it('contradictory servers', async () => {
    const o = await refused('origin', (f) => {
      (f.services as { servers?: object[] }[])[0].servers = [{ address: '203.0.113.10', replica: 'r1' }];
    });
    expectOne(o, 78, 'FSA_CONFIG_VALUE', /needs an address \(adjacent\) or a replica \(remote\)/);
  });

  it('no permission', async () => {
    const o = await refused('gateway', same, { prefix: ['setpriv', '--bounding-set', '-net_admin'] });
    expectOne(o, 77, 'FSA_PERMISSION', /CAP_NET_ADMIN/);
  });
});

describe('the registry', () => {
  const same = () => {};

  it('an unreachable Redis, on a first start', async () => {
    const o = await refused('gateway', same, { registry: `redis+unix://${lab.directory}/nobody.sock` });
    expectOne(o, 69, 'FSA_REGISTRY_UNAVAILABLE', /does not answer/);
    const p = await refused('r1', same, { registry: 'redis://127.0.0.1:1' });
    expectOne(p, 69, 'FSA_REGISTRY_UNAVAILABLE', /127\.0\.0\.1:1/);
  });

  it('a URL that names no registry', async () => {
    expectOne(
      await refused('gateway', same, { registry: 'http://x' }),
      78,
      'FSA_REGISTRY_URL',
      /neither redis/,
    );
  });

  it('a service that was published with another configuration', async () => {
    await lab.startRoles({ configuration: 'A' });
    try {
      for (const host of ['gateway', 'r1']) {
        await lab.stopRole(host);
        const argv = lab.roles.argv(host);
        argv[argv.indexOf('--configuration') + 1] = 'B';
        // Another machine's record keeps no role from starting: the service is left out, and said.
        const result = await lab.exec(host, [...argv, '--check'], { timeoutMs: 20_000 });
        expect(result.stdout).toMatch(
          /^# left out: FSA_CONFIGURATION_MISMATCH: service web is published with configuration A, this role was started with B$/m,
        );
        expect(result.status).toBe(0);
      }
      // A second process of a running instance.
      const twice = await lab.exec('r2', lab.roles.argv('r2'), { timeoutMs: 20_000 });
      expect(twice.stderr.trim()).toMatch(/^FSA_INSTANCE_RUNNING: /);
      expect(twice.status).toBe(69);
      // The prefixes of another gateway.
      const file = fileOf('gateway');
      file.tag = { ...(file.tag as File), gatewayId: 1 };
      lab.startRole('gateway');
      await lab.roles.waitUntilReady();
    } finally {
      await lab.stopRoles();
    }
  });
});

describe('--check', () => {
  it.each(['gateway', 'origin', 'r1'])('prints what %s would steer, and changes nothing', async (host) => {
    const o = await refused(host, () => {}, { args: ['--check'] });
    expect(o.errors).toEqual([]);
    expect(o.status).toBe(0);
    expect(o.stdout).toContain('table inet firstack_');
    expect(o.stdout).toContain('ip rule add pref');
    // nft accepts the printed text.
    const text = o.stdout.slice(0, o.stdout.indexOf('# policy routing'));
    expect((await lab.exec(host, ['nft', '-c', '-f', '-'], { input: text })).stderr).toBe('');
  });
});

describe('the command line', () => {
  it.each([
    [['gateway'], /--config-file/],
    [['gateway', '--config-file', 'x', '--configuration', 'D'], /Allowed choices are A, B, C/],
    [['lab', 'run', '--configuration', 'A', '--requests', '0'], /whole number/],
    [['nonsense'], /unknown command/],
  ])('%j is a usage error', async (args, text) => {
    const argv = lab.roles.argv('gateway');
    const cli = argv.slice(0, argv.indexOf('gateway'));
    const result = await lab.exec('client', [...cli, ...args]);
    expect(result.status).toBe(2);
    expect(result.stderr).toMatch(text);
    expect(result.stdout).toBe('');
  });
});
