import { afterEach, describe, expect, it, vi } from 'vitest';
import { Files, linesOf, problemsOf } from '../../../support/files.js';
import { readGatewayConfig } from '../../../support/role-files.js';

const files = new Files();
const FILE = `instance: edge
lan: [eth0]
wan: [eth1]
registry: redis://10.0.0.1:6379
tag: {gatewayId: 7, keyFile: /etc/key}
prefixes: [10.1.0.0/16]
`;
const read = (text: string, flags = {}) => readGatewayConfig({ configFile: files.write(text), ...flags });
const lines = (text: string, flags = {}): string[] => {
  const configFile = files.write(text);
  return linesOf(
    problemsOf(() => readGatewayConfig({ configFile, ...flags })),
    configFile,
  );
};
afterEach(() => {
  vi.unstubAllEnvs();
});

describe("the gateway's file", () => {
  it('needs few keys, and gets the documented defaults', () => {
    expect(read(FILE)).toMatchObject({
      instance: 'edge',
      tun: { name: 'fsgw0', queueLength: 4096 },
      admin: { listen: 'auto', metrics: 'auto' },
      // RFC 5382, REQ-5: at least 2 h 4 min and 4 min.
      flows: { establishedTimeoutMs: 7_440_000, openingTimeoutMs: 240_000, closingTimeoutMs: 240_000 },
      steering: { mark: 0x01000000, mask: 0x0f000000, table: 7411, priority: 7411 },
      log: 'info',
    });
  });

  it('is overridden by the environment, and both by flags', () => {
    vi.stubEnv('FIRSTACK_REGISTRY', 'file:env');
    vi.stubEnv('FIRSTACK_CONFIGURATION', 'B');
    vi.stubEnv('FIRSTACK_INSTANCE', 'named');
    vi.stubEnv('FIRSTACK_LOG', 'debug');
    vi.stubEnv('FIRSTACK_ADMIN_LISTEN', '127.0.0.1:1');
    expect(read(FILE)).toMatchObject({
      registry: 'file:env',
      configuration: 'B',
      instance: 'named',
      log: 'debug',
      admin: { listen: '127.0.0.1:1', metrics: 'auto' },
    });
    expect(read(FILE, { registry: 'file:flag', configuration: 'C' })).toMatchObject({
      registry: 'file:flag',
      configuration: 'C',
    });
    vi.stubEnv('FIRSTACK_RACE', 'dice');
    expect(lines(FILE)[0]).toMatch(/^FSA_CONFIG_VALUE 1:1: 'race' must be one of /);
  });

  it('has all its problems reported at once', () => {
    const codes = lines(
      'instance: E\nlan: []\nwann: [eth1]\nregistry: 5\ntag: {gatewayId: 70000}\nprefixes: [x]\n',
    ).map((l) => l.split(' ')[0]);
    expect(codes.sort()).toEqual([
      'FSA_CONFIG_INVALID',
      'FSA_CONFIG_MISSING',
      'FSA_CONFIG_TYPE',
      'FSA_CONFIG_UNKNOWN_KEY',
      'FSA_CONFIG_VALUE',
      'FSA_CONFIG_VALUE',
    ]);
  });

  it('has a key, or an identity', () => {
    const none = FILE.replace(/, keyFile: [^}]*/, '');
    expect(none).not.toBe(FILE);
    expect(lines(none)).toEqual([
      expect.stringMatching(/^FSA_CONFIG_MISSING \d+:\d+: 'tag.keyFile' is needed, or 'identityFile' /),
    ]);
    expect(read(`${none}identityFile: gw.identity\n`)).toMatchObject({ tag: { gatewayId: 7 } });
  });

  it('has a LAN, or the gateway is the client itself', () => {
    const none = FILE.replace(/lan: .*\n/, '');
    expect(lines(none)).toEqual([
      "FSA_CONFIG_MISSING 1:1: 'lan' is needed, or 'local: true' where this host is the client",
    ]);
    expect(read(`${none}local: true\n`)).toMatchObject({ lan: [], local: true });
  });

  it('has prefixes that do not overlap, each overlapping pair is reported with its place', () => {
    expect(
      lines(
        FILE.replace('[10.1.0.0/16]', '\n  - 10.1.0.0/16\n  - 10.1.2.0/24\n  - 10.2.0.0/16\n  - 10.0.0.0/8'),
      ),
    ).toEqual([
      'FSA_PREFIX_OVERLAP 8:5: 10.1.2.0/24 overlaps 10.1.0.0/16',
      'FSA_PREFIX_OVERLAP 10:5: 10.0.0.0/8 overlaps 10.1.0.0/16',
      'FSA_PREFIX_OVERLAP 10:5: 10.0.0.0/8 overlaps 10.1.2.0/24',
      'FSA_PREFIX_OVERLAP 10:5: 10.0.0.0/8 overlaps 10.2.0.0/16',
    ]);
  });
});
