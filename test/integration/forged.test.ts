// Shows on the wire that a forged or stale tag causes no copy, and that IP-in-IP from an unknown host is not
// decapsulated. The packets are made here, byte by byte, and enter a host through a TUN that is made for them.
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { packageRoot } from '../../src/lab/paths.js';
import { type Captured, during, form, tagOf } from './capture.js';
import { freshName } from './lab-support.js';

const NAMES: Record<string, string> = { '192.0.2.2': 'C', '203.0.113.10': 'S', '198.18.12.2': 'r2' };

/** Injects raw IPv4 packets into a host, as if they came from a network of its own. */
async function sendRaw(lab: Lab, host: string, packets: Buffer[]): Promise<void> {
  const script = `${lab.directory}/send.cjs`;
  writeFileSync(
    script,
    `const t = require(${JSON.stringify(`${packageRoot}/dist/native/tun.node`)});
     const fd = t.openTun('raw0', 1);
     t.interfaceSet('raw0', 'up', 1);
     require('child_process').execSync('sysctl -qw net.ipv4.conf.raw0.accept_local=1 net.ipv4.conf.raw0.rp_filter=0 net.ipv4.ip_forward=1; ip address add 192.0.0.9/32 dev raw0');
     const arena = new Uint8Array(4096);
     for (const hex of process.argv.slice(2)) {
       const packet = Buffer.from(hex, 'hex');
       arena.fill(0);
       arena.set(packet, 10);
       t.writeBatch(fd, arena, Int32Array.of(10), Int32Array.of(packet.length), 1, new Uint8Array(0));
     }
     setTimeout(() => process.exit(0), 200);`,
  );
  const result = await lab.exec(host, [process.execPath, script, ...packets.map((p) => p.toString('hex'))]);
  expect(result.stderr).toBe('');
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const address = (text: string): number[] => text.split('.').map(Number);

function ipv4(src: string, dst: string, protocol: number, payload: Buffer): Buffer {
  const header = Buffer.from([
    0x45,
    0,
    0,
    0,
    0,
    0,
    0x40,
    0,
    64,
    protocol,
    0,
    0,
    ...address(src),
    ...address(dst),
  ]);
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function syn(src: string, dst: string, sport: number, seq: number, options: Buffer): Buffer {
  const segment = Buffer.concat([Buffer.alloc(20), options]);
  segment.writeUInt16BE(sport, 0);
  segment.writeUInt16BE(80, 2);
  segment.writeUInt32BE(seq, 4);
  segment[12] = (segment.length / 4) << 4;
  segment[13] = 2;
  segment.writeUInt16BE(64240, 14);
  const pseudo = Buffer.from([...address(src), ...address(dst), 0, 6, 0, segment.length]);
  segment.writeUInt16BE(checksum(Buffer.concat([pseudo, segment])), 16);
  return ipv4(src, dst, 6, segment);
}

const CLIENT = '192.0.2.2';
const SERVICE = '203.0.113.10';
const STRANGER = '198.18.2.77';
const counters = async (lab: Lab, host: string) => (await lab.roles.status(host))?.counters ?? {};

describe('on the wire', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.create({ name: freshName(), seed: 1, topology: 'replica-nearest', configuration: 'C' });
  });
  afterAll(async () => {
    await lab?.down();
  });

  /** A genuine tagged SYN, as the gateway sends it. */
  async function genuine(): Promise<Captured> {
    const seen = await during(lab, ['gateway:wan0'], async () => {
      await lab.exec('client', ['curl', '-sS', `http://${SERVICE}/`]);
    });
    return seen['gateway:wan0'].find((p) => p.tcp?.flags === 'S') as Captured;
  }

  it('a forged, a stale, a moved and a foreign tag make no copy; the server gets the SYN without the tag', async () => {
    const tag = tagOf(await genuine()) as Buffer;
    const forged = Buffer.from(tag);
    forged[15] ^= 1;
    const stale = Buffer.from(tag);
    stale[5] = (stale[5] & 0xf0) | ((stale[5] + 8) & 15);
    const foreign = Buffer.from(tag);
    foreign.writeUInt16BE(77, 6);
    // The MAC is right, but for another port and another ISN.
    const moved = Buffer.from(tag);
    const before = await counters(lab, 'origin');
    const packets = [forged, stale, foreign, moved].map((t, i) =>
      syn(CLIENT, SERVICE, 50_001 + i, 1000 + i, t),
    );
    const seen = await during(lab, ['origin:wan0', 'server:lan0'], () => sendRaw(lab, 'gateway', packets));
    const after = await counters(lab, 'origin');
    const copies = seen['origin:wan0'].filter(
      (p) => p.headers.length === 2 && p.tcp!.sport > 50_000 && p.tcp!.sport < 50_010,
    );
    expect(copies).toEqual([]);
    expect(after['emit.copy'] + after['queued.copy']).toBe(before['emit.copy'] + before['queued.copy']);
    expect(after['tag.forged'] - before['tag.forged']).toBe(2);
    expect(after['tag.stale'] - before['tag.stale']).toBe(1);
    expect(after['tag.foreign'] - before['tag.foreign']).toBe(1);
    const atServer = seen['server:lan0'].filter(
      (p) => p.tcp?.flags === 'S' && p.tcp.sport > 50_000 && p.tcp.sport < 50_010,
    );
    expect(atServer.map((p) => form(p, NAMES))).toEqual(Array(4).fill('[C→S]'));
    for (const p of atServer) expect(tagOf(p)).toBeUndefined();
  });

  it('IP-in-IP from an unknown host is decapsulated neither by a replica nor by the gateway', async () => {
    const untagged = syn(CLIENT, SERVICE, 50_101, 5, Buffer.alloc(0));
    const fake = Buffer.from([253, 16, 0xfa, 0x57, 0x11, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    const tagged = syn(CLIENT, SERVICE, 50_102, 6, fake);
    const toReplica = [untagged, tagged].map((inner) => ipv4(STRANGER, '198.18.12.2', 4, inner));
    const deep = ipv4(STRANGER, '198.18.12.2', 4, ipv4(STRANGER, '198.18.12.2', 4, tagged));
    const toClient = [
      // In the form of a replica's tunnel, but from an unknown address; and from a replica's address, for an unknown
      // flow.
      ipv4(STRANGER, CLIENT, 4, syn(SERVICE, CLIENT, 80, 7, Buffer.alloc(0))),
      ipv4('198.18.12.2', CLIENT, 4, syn(SERVICE, CLIENT, 80, 8, Buffer.alloc(0))),
    ];
    const before = { r2: await counters(lab, 'r2'), gateway: await counters(lab, 'gateway') };
    const seen = await during(lab, ['r2:fsre', 'client:lan0'], () =>
      sendRaw(lab, 'origin', [...toReplica, deep, ...toClient]),
    );
    const after = { r2: await counters(lab, 'r2'), gateway: await counters(lab, 'gateway') };
    // Three of them enter the TUN; none leaves it decapsulated.
    const strange = (p: Captured) => p.tcp !== undefined && (p.tcp.sport > 50_100 || p.tcp.seq < 10);
    expect(seen['r2:fsre'].filter((p) => strange(p) && p.headers.length === 1)).toEqual([]);
    expect(
      seen['r2:fsre'].filter((p) => p.headers.length >= 2 && p.headers[0].src === STRANGER).length,
    ).toBeGreaterThan(0);
    expect(after.r2['pass.syn-cracked']).toBe(before.r2['pass.syn-cracked']);
    expect(after.r2['pass.opened']).toBe(before.r2['pass.opened']);
    expect(after.r2['drop.syn-untagged'] - before.r2['drop.syn-untagged']).toBe(1);
    expect(after.r2['pass.tunnel-not-ours'] - before.r2['pass.tunnel-not-ours']).toBe(1);
    const refused = ['drop.tag-forged', 'drop.tag-stale', 'drop.tag-foreign'];
    const sum = (c: Record<string, number>) => refused.reduce((n, name) => n + c[name], 0);
    expect(sum(after.r2) - sum(before.r2)).toBe(1);
    // The gateway lets the unknown host's tunnels pass unchanged, as any router would, and drops those with a
    // replica's address.
    expect(seen['client:lan0'].filter((p) => strange(p) && p.headers.length === 1)).toEqual([]);
    expect(after.gateway['drop.tunnel-no-flow'] - before.gateway['drop.tunnel-no-flow']).toBe(1);
  });
});
