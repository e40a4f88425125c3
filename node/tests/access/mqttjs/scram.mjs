// SCRAM-SHA-256 by the enhanced authentication of MQTT 5, with mqtt.js as the client.

import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

import { Mailbox } from '../../clients/mqttjs/mailbox.mjs';
import { V5 } from '../../clients/mqttjs/client.mjs';
import { Wire } from '../../clients/mqttjs/wire.mjs';

const METHOD = 'SCRAM-SHA-256';
const CONTINUE = 0x18;
const REAUTHENTICATE = 0x19;

const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const xor = (a, b) => Buffer.from(a.map((byte, n) => byte ^ b[n]));
const fields = (text) => Object.fromEntries(text.split(',').map((field) => [field[0], field.slice(2)]));

/** The client's side of RFC 5802. */
class Scram {
  constructor(name, password) {
    this.password = password;
    this.bare = `n=${name},r=${randomBytes(18).toString('base64')}`;
    this.first = Buffer.from(`n,,${this.bare}`);
  }

  /** The proof for the server's challenge. */
  answer(challenge) {
    const { r, s, i } = fields(`${challenge}`);
    const salted = pbkdf2Sync(this.password, Buffer.from(s, 'base64'), Number(i), 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const unproved = `c=biws,r=${r}`;
    const signed = `${this.bare},${challenge},${unproved}`;
    const signature = hmac(createHash('sha256').update(clientKey).digest(), signed);
    this.expected = `v=${hmac(hmac(salted, 'Server Key'), signed).toString('base64')}`;
    return Buffer.from(`${unproved},p=${xor(clientKey, signature).toString('base64')}`);
  }

  /** The server knows the password as well. */
  verify(signature) {
    assert.equal(`${signature}`, this.expected);
  }
}

const auth = (reasonCode, authenticationData, authenticationMethod = METHOD) => ({
  cmd: 'auth',
  reasonCode,
  properties: { authenticationMethod, authenticationData },
});

/** Options of CONNECT by this exchange. */
const by = (scram, method = METHOD) => ({
  protocolVersion: V5,
  properties: { authenticationMethod: method, authenticationData: scram.first },
});

/** Has the client take its part: answers challenges, verifies what ends a re-authentication. */
function takePart(client, exchange) {
  client.renewed = new Mailbox('end of a re-authentication');
  client.mqtt.handleAuth = ({ reasonCode, properties }, done) => {
    if (reasonCode !== CONTINUE) {
      exchange.current.verify(properties.authenticationData);
      client.renewed.put(reasonCode);
      return done();
    }
    done(undefined, auth(CONTINUE, exchange.current.answer(properties.authenticationData)));
  };
}

/** Connects; resolves to the client and what the server proved itself with. */
async function connect(run, name, password, more = {}) {
  const exchange = { current: new Scram('ann', password) };
  const client = run.offline(name, by(exchange.current));
  const connected = client.connect(more);
  takePart(client, exchange);
  await connected;
  exchange.current.verify(client.connack.properties.authenticationData);
  assert.equal(client.connack.properties.authenticationMethod, METHOD);
  return { client, exchange };
}

/** Proves anew who it is; the client may use its connection meanwhile. */
function again(client, exchange, password) {
  exchange.current = new Scram('ann', password);
  client.mqtt._sendPacket(auth(REAUTHENTICATE, exchange.current.first));
}

export async function a_password_is_proved_and_never_said(run) {
  const { client } = await connect(run, 'proves', 'apple');
  assert.deepEqual(await client.subscribe('ann/#', { qos: 1 }), [1]);
  await client.publish('ann/a', 'mine', { qos: 1 });
  assert.deepEqual(await client.texts(1), ['mine']);
}

export async function a_wrong_password_is_no_proof(run) {
  const before = await connect(run, 'same-id', 'apple');
  for (const name of ['ann', 'nobody']) {
    const scram = new Scram(name, 'pear');
    const client = run.offline('guesses', by(scram));
    const connected = client.connect();
    takePart(client, { current: scram });
    const error = await connected.then(() => assert.fail('let in'), (error) => error);
    assert.equal(error.code, 0x86, name);
  }
  await before.client.publish('ann/a', 'still here', { qos: 1 });
}

export async function an_unknown_method_is_refused_with_0x8c(run) {
  const client = run.offline('unknown', by(new Scram('ann', 'apple'), 'GS2-KRB5'));
  const error = await client.connect().then(() => assert.fail('let in'), (error) => error);
  assert.equal(error.code, 0x8c);
}

export async function a_live_connection_is_proved_anew(run) {
  const { client, exchange } = await connect(run, 'again', 'apple');
  await client.subscribe('ann/#', { qos: 1 });
  for (let n = 0; n < 3; n += 1) {
    again(client, exchange, 'apple');
    // What is sent meanwhile is served as ever (MQTT-4.12.1).
    await client.publish('ann/a', `${n}`, { qos: 1 });
    assert.equal(await client.renewed.next(), 0);
  }
  assert.deepEqual(await client.texts(3), ['0', '1', '2']);
}

export async function a_failed_new_proof_ends_the_connection(run) {
  const { client, exchange } = await connect(run, 'fails', 'apple');
  again(client, exchange, 'pear');
  assert.equal(await client.ended(), 0x87);
}

const CONNECT = (scram) => ({
  username: undefined,
  properties: { authenticationMethod: METHOD, authenticationData: scram.first },
});

/** Opens a connection by hand as far as the server's challenge. */
async function challenged(run, name) {
  const wire = await Wire.open(run);
  const fixed = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, keepalive: 60, clean: true };
  const scram = new Scram('ann', 'apple');
  wire.send({ ...fixed, clientId: run.name(name), ...CONNECT(scram) });
  const challenge = await wire.next('auth');
  assert.equal(challenge.reasonCode, CONTINUE);
  return { wire, scram, proof: scram.answer(challenge.properties.authenticationData) };
}

/** The code with which CONNECT is refused, and then the end. */
async function refusal(wire) {
  const { reasonCode } = await wire.next('connack');
  assert.equal(await wire.packets.next(), null);
  return reasonCode;
}

export async function nothing_but_auth_may_come_before_the_proof(run) {
  const { wire } = await challenged(run, 'impatient');
  wire.send({ cmd: 'publish', topic: 'ann/a', payload: 'too early', qos: 0, dup: false, retain: false });
  assert.equal(await refusal(wire), 0x82);
  const other = await challenged(run, 'changes');
  other.wire.send(auth(CONTINUE, other.proof, 'SCRAM-SHA-1'));
  assert.equal(await refusal(other.wire), 0x82);
  const begins = await challenged(run, 'begins-anew');
  begins.wire.send(auth(REAUTHENTICATE, begins.scram.first));
  assert.equal(await refusal(begins.wire), 0x82);
  const altered = await challenged(run, 'altered');
  altered.wire.send(auth(CONTINUE, Buffer.from(`${altered.proof}`.replace('r=', 'r=x'))));
  assert.equal(await refusal(altered.wire), 0x86);
}

export async function auth_needs_a_method_that_was_agreed_on(run) {
  const { wire, proof, scram } = await challenged(run, 'agreed');
  wire.send(auth(CONTINUE, proof));
  scram.verify((await wire.next('connack')).properties.authenticationData);
  wire.send(auth(REAUTHENTICATE, scram.first, 'SCRAM-SHA-1'));
  assert.equal(await wire.ended(), 0x82);
  const without = await Wire.open(run);
  assert.equal((await without.connect(run.name('without'), { username: 'ann', password: 'apple' })).reasonCode, 0);
  without.send(auth(REAUTHENTICATE, new Scram('ann', 'apple').first));
  assert.equal(await without.ended(), 0x82);
  const nothing = await challenged(run, 'nothing');
  nothing.wire.send(auth(CONTINUE, nothing.proof));
  assert.equal((await nothing.wire.next('connack')).reasonCode, 0);
  nothing.wire.send(auth(CONTINUE, nothing.proof));
  assert.equal(await nothing.wire.ended(), 0x82);
}

/** Many at once, each in several steps, over one listener. */
export async function many_prove_themselves_at_once(run) {
  const names = Array.from({ length: 20 }, (_, n) => `crowd-${n}`);
  const all = await Promise.all(names.map((name) => connect(run, name, 'apple')));
  await Promise.all(all.map(({ client }, n) => client.publish(`ann/${n}`, '', { qos: 1 })));
}
