/** Answers the origin's distance probes (UDP 7417): only authentic ones, with an answer of the same size. */
import { createSocket, type Socket } from 'node:dgram';
import { wallUs } from '../device/wall-clock.js';
import { FirstackError } from '../errors.js';
import * as probe from '../wire/probe.js';
import type { SipKey } from '../wire/siphash.js';

export class ProbeResponder {
  #socket: Socket | undefined;

  constructor(
    readonly address: string,
    readonly key: SipKey,
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
      const request = probe.decode(bytes, this.key);
      if (request === undefined || request.kind !== probe.REQUEST) return;
      const reply = {
        ...request,
        kind: probe.REPLY,
        receivedUs,
        repliedUs: wallUs(),
      } as const;
      socket.send(probe.encode(reply, this.key), from.port, from.address);
    });
  }

  stop(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }
}
