// What fox-wamp's MQTT clients count on: the realm in the user name; and requests of MQTT 5 that call.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Inbox, foxClient, broker, mqttClient, require, run, wampSession } from './setup.mjs';

const mqtt = require('mqtt');

/// Why a client is not let in.
async function refusal(options) {
  const client = mqtt.connect(broker, { reconnectPeriod: 0, ...options });
  const [error] = await once(client, 'error');
  client.end(true);
  return error;
}

/// A client that asks, and what it is answered.
async function asking(options) {
  const client = await mqttClient(options);
  const inbox = new Inbox();
  client.on('message', (topic, payload, packet) => inbox.push(payload.toString(), packet.properties ?? {}, topic));
  await client.subscribeAsync('answers/#', { qos: 1 });
  const ask = (topic, payload, more = {}) => client.publishAsync(topic, payload, {
    qos: 1,
    ...more,
    properties: { responseTopic: 'answers/mine', correlationData: Buffer.from('c1'), ...more.properties },
  });
  return { client, inbox, ask };
}

run({
  async a_realm_is_named_in_the_user_name() {
    const session = await wampSession('realm7');
    const inbox = new Inbox();
    await session.subscribe('named.realm', (args) => inbox.push(args[0]));
    const old = await mqttClient({ protocolVersion: 4, username: 'x@realm7' });
    await old.publishAsync('named/realm', '1', { qos: 1 });
    assert.deepEqual(await inbox.next(), [1]);
    const other = await mqttClient({ username: 'no realm in it' });
    await other.publishAsync('named/realm', '2', { qos: 1 });
    await old.publishAsync('named/realm', '3', { qos: 1 });
    assert.deepEqual(await inbox.next(), [3]);
  },

  async names_that_are_none_are_refused_and_nothing_else() {
    for (const username of ['joe@UPPER', 'joe@with-dash', 'joe@', 'joe@a.b', `joe@${'x'.repeat(300)}`]) {
      const [five, four] = [await refusal({ protocolVersion: 5, username }), await refusal({ protocolVersion: 4, username })];
      assert.ok([134, 135].includes(five.code), `${username}: ${five}`);
      assert.ok([4, 5].includes(four.code), `${username}: ${four}`);
    }
    await mqttClient();
  },

  async a_request_calls_what_is_registered_at_its_topic() {
    const session = await wampSession();
    await session.register('req.sum', (args, kwargs) => args.reduce((a, b) => a + b, kwargs.more ?? 0));
    await session.register('req.list', () => [1, 2]);
    await session.register('req.fails', () => { throw new (require('autobahn').Error)('app.error.luck', ['none'], { k: 1 }); });
    const { inbox, ask } = await asking();
    await ask('req/sum', '[1,2,3]');
    const [payload, properties, topic] = await inbox.next();
    assert.deepEqual([payload, topic, properties.correlationData.toString()], ['6', 'answers/mine', 'c1']);
    await ask('req/sum', '5', { qos: 0, properties: { userProperties: { 'wamp-kwargs': '{"more":2}' } } });
    assert.equal((await inbox.next())[0], '7');
    await ask('req/list', '');
    assert.equal((await inbox.next())[0], '[1,2]');
    await ask('req/fails', '');
    const [why, told] = await inbox.next();
    assert.deepEqual([why, told.userProperties['wamp-error']], ['"none"', 'app.error.luck']);
    assert.equal(told.userProperties['wamp-kwargs'], '{"k":1}');
  },

  async a_request_calls_a_client_of_hyper_too() {
    const fox = await foxClient();
    await fox.register('req.fox', (value) => value);
    const { inbox, ask } = await asking();
    await ask('req/fox', '{"a":[1]}');
    assert.equal((await inbox.next())[0], '{"a":[1]}');
  },

  async expiry_is_the_time_a_call_has() {
    const session = await wampSession();
    await session.register('req.never', () => new Promise(() => {}));
    const { inbox, ask } = await asking();
    await ask('req/never', '', { properties: { messageExpiryInterval: 1 } });
    assert.equal((await inbox.next())[1].userProperties['wamp-error'], 'wamp.error.timeout');
  },

  async what_is_no_call_is_published() {
    const session = await wampSession();
    const heard = new Inbox();
    await session.register('req.both', () => heard.push('called'));
    await session.subscribe('req.both', (args) => heard.push(args[0]));
    await session.subscribe('req.nobody', (args) => heard.push(args[0]));
    const { client, inbox, ask } = await asking();
    // Nobody has registered it, so it is answered as MQTT clients do.
    const other = await mqttClient();
    other.on('message', (topic, payload, { properties }) =>
      other.publish(properties.responseTopic, `re ${payload}`, { properties: { correlationData: properties.correlationData } }));
    await other.subscribeAsync('req/nobody');
    await ask('req/nobody', '"ask"');
    assert.deepEqual(await heard.next(), ['ask']);
    assert.equal((await inbox.next())[0], 're "ask"');
    // No response topic, QoS 2, retained, a condition: messages.
    await client.publishAsync('req/both', '1', { qos: 1 });
    assert.deepEqual(await heard.next(), [1]);
    await ask('req/both', '2', { qos: 2 });
    assert.deepEqual(await heard.next(), [2]);
    await ask('req/both', '3', { retain: true });
    assert.deepEqual(await heard.next(), [3]);
    await ask('req/both', '4', { retain: true, properties: { userProperties: { 'weir-when': '3' } } });
    assert.deepEqual(await heard.next(), [4]);
    await ask('req/both', '');
    assert.deepEqual(await heard.next(), ['called']);
  },

  async who_leaves_is_answered_nothing() {
    const session = await wampSession();
    const called = new Inbox();
    await session.register('req.slow', () => { called.push(); return new Promise(() => {}); });
    const { client, ask } = await asking();
    await ask('req/slow', '');
    await called.next();
    client.end(true);
    const { inbox, ask: again } = await asking();
    await session.register('req.quick', () => 'here');
    await again('req/quick', '');
    assert.equal((await inbox.next())[0], '"here"');
  },
});
