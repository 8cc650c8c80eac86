/**
 * Answers probes (UDP 7417), only authentic ones: the origin's distance probes with an answer of the same size, and
 * gateways' path probes with an answer of the size that they ask for, which is at most their own.
 */
import { createSocket, type Socket } from 'node:dgram';
import { wallUs } from '../device/wall-clock.js';
import { FirstackError } from '../errors.js';
import * as path from '../wire/path-probe.js';
import * as probe from '../wire/probe.js';
import type { SipKey } from '../wire/siphash.js';

/** The keys with which genuine probes are made. */
export interface ProbeKeys {
  /** Those of an origin's distance probes, by the address from which they come. */
  ofOrigin(address: string): readonly SipKey[];
  /** Those of a gateway's path probes. @param isPaired whether the keys that it shares with this machine are meant */
  ofGateway(id: number, isPaired: boolean): readonly { id: number; words: readonly number[] }[];
}

export class ProbeResponder {
  #socket: Socket | undefined;

  constructor(
    readonly address: string,
    readonly keys: ProbeKeys,
  ) {}

  /** @throws FirstackError FSA_CONFIG_VALUE when the port is taken */
  async start(): Promise<void> {
    const socket = createSocket('udp4');
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) =>
        reject(
          new FirstackError(
            'FSA_CONFIG_VALUE',
            `address: ${this.address}:${probe.PORT}/udp: ${error.message}`,
          ),
        ),
      );
      socket.bind({ address: this.address, port: probe.PORT }, resolve);
    });
    socket.removeAllListeners('error');
    socket.on('error', () => {});
    socket.on('message', (bytes, from) => {
      const receivedUs = wallUs();
      const path = this.#answerOf(bytes);
      if (path !== undefined) return socket.send(path, from.port, from.address);
      for (const key of this.keys.ofOrigin(from.address)) {
        const request = probe.decode(bytes, key);
        if (request === undefined || request.kind !== probe.REQUEST) continue;
        const reply = { ...request, kind: probe.REPLY, receivedUs, repliedUs: wallUs() } as const;
        return socket.send(probe.encode(reply, key), from.port, from.address);
      }
    });
  }

  /** The answer to a genuine path probe; undefined for anything else. */
  #answerOf(bytes: Buffer): Uint8Array | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (!path.is(view, 0, bytes.length, path.REQUEST)) return undefined;
    const length = path.replyLength(view, 0) - (path.LEAST - path.PAYLOAD);
    if (length < path.PAYLOAD || length > bytes.length) return undefined;
    for (const { id, words } of this.keys.ofGateway(path.gatewayId(view, 0), path.isPaired(view, 0))) {
      const key = Int32Array.from(words);
      if (id !== path.keyId(view, 0) || !path.isAuthentic(view, 0, key)) continue;
      path.toReply(view, 0, key);
      return bytes.subarray(0, length);
    }
    return undefined;
  }

  stop(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }
}
