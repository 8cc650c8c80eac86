import { describe, expect, it } from 'vitest';
import { Files, linesOf, problemsOf } from '../../../support/files.js';
import { readOriginConfig } from '../../../support/role-files.js';

const files = new Files();
const FILE = `instance: o1
lan: [eth0]
wan: [eth1]
registry: file:/x
tag: {keyFile: /etc/key}
address: 198.51.100.1
services:
  - {name: web, address: 203.0.113.10, ports: [80], configuration: A}
`;
const read = (text: string, flags = {}) => readOriginConfig({ configFile: files.write(text), ...flags });
const lines = (text: string, flags = {}): string[] => {
  const configFile = files.write(text);
  return linesOf(
    problemsOf(() => readOriginConfig({ configFile, ...flags })),
    configFile,
  );
};
const more = (...services: string[]): string => FILE + services.map((s) => `  - {${s}}\n`).join('');

describe("the origin's file", () => {
  it('needs few keys', () => {
    expect(read(FILE)).toMatchObject({
      release: 'synchronized',
      race: 'origin',
      tun: { name: 'fsor0' },
      admin: { listen: 'auto', metrics: 'auto' },
      services: [{ name: 'web', replicable: true, raceWindowMs: 500 }],
    });
    expect(read(FILE, { release: 'immediate' }).release).toBe('immediate');
  });

  it('gives a service the configuration of the flag where it has none, and refuses another', () => {
    const bare = FILE.replace(', configuration: A', '');
    expect(read(bare, { configuration: 'C' }).configuration).toBe('C');
    expect(lines(bare)).toEqual([
      'FSA_CONFIG_MISSING 8:5: service web has no configuration (give it one, or --configuration A|B|C)',
    ]);
    expect(lines(FILE, { configuration: 'B' })).toEqual([
      'FSA_CONFIGURATION_MISMATCH 8:53: service web has configuration A, --configuration says B',
    ]);
  });

  it('may list each service, and each address and port, only once', () => {
    expect(
      lines(
        more(
          'name: web, address: 203.0.113.11, ports: [80], configuration: A',
          'name: api, address: 203.0.113.10, ports: [443, 80], configuration: A',
        ),
      ),
    ).toEqual([
      'FSA_CONFIG_VALUE 9:6: service web is listed twice',
      'FSA_CONFIG_VALUE 10:40: 203.0.113.10:80 belongs to service web already',
    ]);
  });

  it('has its servers checked, and each problem reported', () => {
    const service = (servers: string): string[] =>
      lines(more(`name: w, address: 203.0.113.12, ports: [80], configuration: B, servers: ${servers}`)).map(
        (l) => l.replace(/^.*?: /, ''),
      );
    const good = 'name: w, address: 203.0.113.12, ports: [80], configuration: B';
    expect(
      read(more(`${good}, servers: [{address: 10.0.0.1}, {replica: r9, weight: 3}]`)).services[1].servers,
    ).toEqual([
      { address: '10.0.0.1', weight: 1 },
      { replica: 'r9', weight: 3 },
    ]);
    expect(service('[{weight: 3}]')).toEqual([
      'a server of w needs an address (adjacent) or a replica (remote), not both',
    ]);
    expect(service('[{address: 10.0.0.1}, {address: 10.0.0.1}]')).toEqual([
      'server 10.0.0.1 of w is listed twice',
    ]);
    expect(service('[{address: 10.0.0.1, weight: 0}]')).toEqual(['no server of w has a weight']);
    expect(service('[{replica: r1}], health: {tcp: "{server}:80"}')).toEqual([
      "'health' needs adjacent servers, and w has none",
    ]);
    expect(service('[{address: 10.0.0.1}], health: {}')).toEqual([
      "'health' needs one of http, tcp, command",
    ]);
  });

  it('has all its problems reported at once', () => {
    expect(
      lines(`${more('name: W, address: 1.2.3, prots: [80]')}release: soon\n`)
        .map((l) => l.split(' ')[0])
        .sort(),
    ).toEqual([
      'FSA_CONFIG_MISSING',
      'FSA_CONFIG_UNKNOWN_KEY',
      'FSA_CONFIG_VALUE',
      'FSA_CONFIG_VALUE',
      'FSA_CONFIG_VALUE',
    ]);
  });
});
