import { describe, expect, it } from 'vitest';
import { Files, linesOf, problemsOf } from '../../../support/files.js';
import { readReplicaConfig } from '../../../support/role-files.js';

const files = new Files();
const FILE = `instance: rep
id: r1
wan: [eth0]
registry: file:/x
tag: {keyFile: /etc/key}
address: 198.51.100.11
services: [{name: web, port: 8080}]
`;
const read = (text: string) => readReplicaConfig({ configFile: files.write(text) });
const lines = (text: string): string[] => {
  const configFile = files.write(text);
  return linesOf(
    problemsOf(() => readReplicaConfig({ configFile })),
    configFile,
  );
};

describe("the replica's file", () => {
  it('needs few keys', () => {
    const config = read(FILE);
    expect(config).toMatchObject({
      lan: [],
      tun: { name: 'fsre0' },
      admin: { listen: 'auto', metrics: 'auto' },
      limits: { connections: 100_000, cpuPct: 95 },
      steering: { priority: 5 },
    });
    expect(config.health).toBeUndefined();
  });

  it("has its rule before the local table's", () => {
    expect(lines(`${FILE}steering: {priority: 10}\n`)).toEqual([
      "FSA_CONFIG_INVALID 8:12: 'steering.priority' must be <= 9",
    ]);
  });

  it('checks the health of the application in one way', () => {
    expect(read(`${FILE}health: {http: 'http://127.0.0.1/up'}\n`).health).toMatchObject({
      intervalMs: 1000,
      timeoutMs: 900,
      rise: 1,
      fall: 2,
    });
    const one = "FSA_CONFIG_VALUE 8:1: 'health' needs one of http, tcp, command";
    expect(lines(`${FILE}health: {}\n`)).toEqual([one]);
    expect(lines(`${FILE}health: {http: 'http://x/', tcp: '127.0.0.1:80'}\n`)).toEqual([one]);
    expect(lines(`${FILE}health: {http: 'ftp://x'}\n`)[0]).toMatch(/^FSA_CONFIG_VALUE 8:10: /);
  });

  it('names each service once', () => {
    expect(lines(FILE.replace('[{name: web, port: 8080}]', '[{name: web}, {name: web, port: 81}]'))).toEqual([
      'FSA_CONFIG_VALUE 7:26: service web is listed twice',
    ]);
  });

  it('has all its problems reported at once', () => {
    expect(
      lines(`${FILE}limits: {conections: 5, cpuPct: 200}\nid2: x\n`)
        .map((l) => l.split(' ').slice(0, 2).join(' '))
        .sort(),
    ).toEqual(['FSA_CONFIG_INVALID 8:25:', 'FSA_CONFIG_UNKNOWN_KEY 8:10:', 'FSA_CONFIG_UNKNOWN_KEY 9:1:']);
  });
});
