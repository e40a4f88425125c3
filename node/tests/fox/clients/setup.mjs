// What the scripts share: the packages, the addresses, and how to wait for what comes.
import { createRequire } from 'node:module';
import { once } from 'node:events';
import path from 'node:path';

export const require = createRequire(path.join(process.env.WEIR_TOOLS, 'wamp', 'package.json'));
const autobahn = require('autobahn');
const mqtt = require('mqtt');
const { HyperNetClient } = require('fox-wamp/lib/hyper/net_transport');

// Those of one node, and of a second one where there are two.
export const [url, broker, hyper, , brokerThere, hyperThere] = process.argv.slice(2);
export const REALM = 'realm1';
// Clients of fox-wamp say much.
console.log = () => {};

export const ended = [];

/// A HyperNetClient that is logged in.
export async function foxClient(realm = REALM, more = {}, at = hyper) {
  const [host, port] = at.split(':');
  const client = new HyperNetClient({ host, port: Number(port), maxReconnectAttempts: 1, reconnectDelay: 1 << 30 });
  await client.connect();
  await client.login({ realm, ...more });
  ended.push(() => client.close());
  return client;
}

/// An autobahn-js session.
export async function wampSession(realm = REALM) {
  const connection = new autobahn.Connection({ url, realm, max_retries: 0 });
  const session = await new Promise((resolve, reject) => {
    connection.onopen = resolve;
    connection.onclose = (reason, details) => { reject(new Error(`${reason} ${details.reason}`)); return true; };
    connection.open();
  });
  ended.push(() => connection.close());
  return session;
}

/// An MQTT client; a realm by its user name.
export async function mqttClient({ at = broker, ...options } = {}) {
  const client = mqtt.connect(at, { protocolVersion: 5, username: `joe@${REALM}`, reconnectPeriod: 0, ...options });
  await once(client, 'connect');
  ended.push(() => client.end(true));
  return client;
}

/// What comes, in order; `next()` waits for it.
export class Inbox {
  constructor() { this.come = []; this.waiting = []; }
  push(...said) {
    const wait = this.waiting.shift();
    if (wait) wait(said); else this.come.push(said);
  }
  next() {
    if (this.come.length) return Promise.resolve(this.come.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

/// Runs the checks one after the other; the first that fails ends it.
export async function run(checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
    } catch (error) {
      const said = error instanceof Error ? error.stack : JSON.stringify(error);
      process.stderr.write(`${name}: ${said}\n`);
      process.exit(1);
    }
    ended.splice(0).forEach((end) => end());
  }
  process.exit(0);
}
