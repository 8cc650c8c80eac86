import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'fs-record-'));
process.env.FIRSTACK_RUN_DIR = directory;
const { hasUnsoundRecord, readRecord } = await import('../../../src/steer/record.js');
const { writeSysctl } = await import('../../../src/steer/tools.js');
afterAll(() => rmSync(directory, { recursive: true }));

const SOUND = {
  pid: 7,
  started: '123',
  namespace: 4026531840,
  tun: 'fsgw',
  mark: 1,
  tunnelMark: 2,
  mask: 15,
  table: 7411,
  tunnelTable: 8411,
  priority: 7411,
  movedLocal: false,
  sysctls: [
    { key: 'net.ipv4.conf.eth0.100.arp_ignore', before: '0' },
    { key: 'net.ipv4.tcp_early_demux', before: '1' },
  ],
  hops: { mask: 1, table: 2, priority: 3, numbers: { '198.51.100.20': 1 } },
  v6: true,
  v6Sources: [{ address: '2001:db8::1', port: 80 }],
};

function plant(record: unknown): void {
  mkdirSync(`${directory}/x`, { recursive: true });
  writeFileSync(`${directory}/x/steering.json`, typeof record === 'string' ? record : JSON.stringify(record));
}

describe('the record of a predecessor', () => {
  it('is read as a role wrote it, in an earlier version too', () => {
    plant(SOUND);
    expect(readRecord('x')).toEqual(SOUND);
    const { hops: _hops, v6: _v6, v6Sources: _sources, ...earlier } = SOUND;
    plant(earlier);
    expect(readRecord('x')).toEqual(earlier);
    expect(hasUnsoundRecord('x')).toBe(false);
    expect(hasUnsoundRecord('none')).toBe(false);
  });

  const setting = (key: string, before = '0') => ({ ...SOUND, sysctls: [{ key, before }] });
  it.each([
    ['no JSON', 'x'],
    ['a setting that leads out of the tree', setting('net.ipv4.conf./../../../../etc/x.y')],
    ['a setting that leads up', setting('net.ipv4.conf...forwarding')],
    ['a setting of the kernel', setting('kernel.core_pattern')],
    ['a value that is no number', setting('net.ipv4.ip_forward', '|/bin/sh')],
    ['a path as an interface', { ...SOUND, tun: '../x' }],
    ['a table that is no number', { ...SOUND, table: 'main' }],
    ['a server that is no address', { ...SOUND, hops: { ...SOUND.hops, numbers: { '-f': 1 } } }],
    ['a source that is no address', { ...SOUND, v6Sources: [{ address: 'all', port: 80 }] }],
  ])('with %s is not followed', (_, record) => {
    plant(record);
    expect(readRecord('x')).toBeUndefined();
    expect(hasUnsoundRecord('x')).toBe(true);
  });

  it('no setting leads out of its tree', () => {
    expect(() => writeSysctl('net.ipv4.conf./../../../../tmp/x.y', '1')).toThrow(/is no setting/);
    expect(() => writeSysctl('../../tmp/x', '1')).toThrow(/is no setting/);
  });
});
