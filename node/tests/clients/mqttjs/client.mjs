// An mqtt.js client whose events are waited for.

import { randomUUID } from 'node:crypto';

import { Mailbox, within } from './mailbox.mjs';
import { mqtt } from './tools.mjs';

export const V311 = 4;
export const V5 = 5;

export class Client {
  /** Options are mqtt.js' own; `properties` those of CONNECT. */
  constructor(run, name = randomUUID().slice(0, 8), options = {}) {
    this.run = run;
    this.id = name && run.name(name);
    this.options = { protocolVersion: V5, clean: true, ...options };
    this.messages = new Mailbox(`message for ${this.id}`);
    /** PUBLISH as they came, before mqtt.js looked at them. */
    this.received = [];
    this.pubrecs = new Map();
  }

  /** CONNECT; resolves to this client once CONNACK is there. */
  async connect(options = {}) {
    this.ends = new Mailbox(`end of ${this.id}`);
    this.disconnected = null;
    const given = { ...this.options, ...options };
    const client = mqtt.connect(this.run.url, {
      clientId: this.id,
      reconnectPeriod: 0,
      resubscribe: false,
      ca: this.run.ca,
      wsOptions: { ca: this.run.ca },
      ...given,
    });
    this.mqtt = client;
    this.run.clients.push(this);
    client.on('message', (topic, payload, packet) => this.messages.put({ ...packet, topic, text: `${payload}` }));
    client.on('packetreceive', (packet) => this.#saw(packet));
    client.on('disconnect', (packet) => (this.disconnected = packet));
    client.on('close', () => this.ends.put(this.disconnected));
    this.connack = await within(`no CONNACK for ${this.id}`, (resolve, reject) => {
      client.once('connect', resolve);
      client.once('error', reject);
    });
    client.on('error', () => {});
    this.sessionPresent = this.connack.sessionPresent;
    return this;
  }

  #saw(packet) {
    if (packet.cmd === 'publish') this.received.push({ ...packet, properties: { ...packet.properties } });
    if (packet.cmd === 'pubrec') this.pubrecs.set(packet.messageId, packet.reasonCode);
  }

  /** SUBSCRIBE; resolves to the codes of SUBACK. */
  async subscribe(filters, options = {}) {
    const granted = await this.mqtt.subscribeAsync(filters, { qos: 0, ...options });
    return granted.map((one) => one.qos);
  }

  async unsubscribe(filters) {
    const packet = await this.mqtt.unsubscribeAsync(filters);
    return packet?.granted;
  }

  /** PUBLISH; resolves when it is acknowledged. */
  publish(topic, payload = '', options = {}) {
    return this.mqtt.publishAsync(topic, payload, { qos: 0, ...options });
  }

  next() {
    return this.messages.next();
  }

  async texts(count) {
    return (await this.messages.take(count)).map((message) => message.text);
  }

  /** Messages before the one with this payload. */
  async until(marker) {
    const found = [];
    for (;;) {
      const message = await this.next();
      if (message.text === marker) return found;
      found.push(message);
    }
  }

  /** DISCONNECT and the end of the connection. */
  async disconnect(options = {}) {
    await this.mqtt.endAsync(false, options);
  }

  /** The network is gone: no DISCONNECT. */
  async drop() {
    this.mqtt.stream.destroy();
    await this.ends.next();
  }

  /** The broker ended it: the reason code of its DISCONNECT, or null without one. */
  async ended() {
    return (await this.ends.next())?.reasonCode ?? null;
  }
}
