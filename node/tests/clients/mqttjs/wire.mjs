// A connection by hand: packets made and read by mqtt-packet, over any transport, with nobody answering for us.

import net from 'node:net';
import tls from 'node:tls';

import { Mailbox } from './mailbox.mjs';
import { WebSocket, packets } from './tools.mjs';

export class Wire {
  /** Opens the transport; nothing is sent yet. */
  static async open(run) {
    const wire = new Wire();
    const { protocol, hostname, port } = new URL(run.url);
    const write = protocol.startsWith('ws') ? await wire.#overWebSocket(run) : await wire.#over(run, hostname, port);
    wire.write = write;
    return wire;
  }

  constructor() {
    this.parser = packets.parser({ protocolVersion: 5 });
    this.packets = new Mailbox('packet');
    this.parser.on('packet', (packet) => this.packets.put({ ...packet }));
    this.parser.on('error', (error) => this.packets.put(error));
  }

  async #over({ url, ca }, host, port) {
    // Our side stays open until `drop`: what the broker does about that is its own affair.
    const options = { host, port, ca, allowHalfOpen: true };
    const socket = url.startsWith('mqtts:') ? tls.connect(options) : net.connect(options);
    socket.on('error', () => {});
    socket.on('data', (bytes) => this.parser.parse(bytes));
    socket.on('end', () => this.packets.put(null));
    this.drop = () => socket.destroy();
    await new Promise((resolve) => socket.once(socket.encrypted ? 'secureConnect' : 'connect', resolve));
    return (bytes) => socket.write(bytes);
  }

  async #overWebSocket({ url, ca }) {
    const socket = new WebSocket(url, ['mqtt'], { ca });
    socket.on('error', () => {});
    socket.on('message', (bytes) => this.parser.parse(bytes));
    socket.on('close', () => this.packets.put(null));
    this.drop = () => socket.terminate();
    await new Promise((resolve) => socket.once('open', resolve));
    return (bytes) => socket.send(bytes);
  }

  send(...list) {
    this.write(Buffer.concat(list.map((packet) => packets.generate(packet, { protocolVersion: 5 }))));
  }

  /** CONNECT of MQTT 5; resolves to CONNACK. */
  connect(clientId, options = {}) {
    const fixed = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, keepalive: 60, clean: true };
    this.send({ ...fixed, clientId, ...options });
    return this.next('connack');
  }

  /** The next packet, which must be of this kind; `null` is the end of the connection. */
  async next(kind) {
    const packet = await this.packets.next();
    if (packet?.cmd !== kind) throw new Error(`${kind} was expected, not ${JSON.stringify(packet)}`);
    return packet;
  }

  /** DISCONNECT with this reason, then the end. */
  async ended() {
    const { reasonCode } = await this.next('disconnect');
    const end = await this.packets.next();
    if (end !== null) throw new Error(`the end was expected, not ${JSON.stringify(end)}`);
    return reasonCode;
  }
}

export const publish = (topic, messageId, qos, more = {}) => ({
  cmd: 'publish', topic, messageId, qos, payload: more.payload ?? `${messageId}`, dup: false, retain: false, ...more,
});
