// What autobahn-js, and mqtt.js beside it, see of publish and subscribe. Arguments: WebSocket URL, MQTT URL.
import { createRequire } from 'node:module';
import path from 'node:path';
import assert from 'node:assert/strict';

const require = createRequire(path.join(process.env.WEIR_TOOLS, 'wamp', 'package.json'));
const autobahn = require('autobahn');
const mqtt = require('mqtt');
const [url, mqttUrl] = process.argv.slice(2);
const REALM = 'default';

const open = (options = {}) => new Promise((resolve, reject) => {
  const connection = new autobahn.Connection({ url, realm: REALM, max_retries: 0, ...options });
  connection.onopen = (session, details) => resolve({ connection, session, details });
  connection.onclose = (reason, details) => { reject(Object.assign(new Error(reason), { details })); return true; };
  connection.open();
});

// Events of a subscription, and a promise of the n-th.
const listen = async (session, topic, options) => {
  const events = [];
  const waiting = [];
  const look = () => { for (const w of waiting.splice(0)) events.length >= w.n ? w.done(events) : waiting.push(w); };
  const subscription = await session.subscribe(topic, (args, kwargs, details) => {
    events.push({ args: args ?? [], kwargs: kwargs ?? {}, details });
    look();
  }, options);
  return { events, subscription, until: (n) => new Promise((done) => { waiting.push({ n, done }); look(); }) };
};

const a = await open();
const b = await open();
assert.equal(a.details.realm, REALM);
assert.equal(a.details.authmethod, 'anonymous');
assert.notEqual(a.session.id, b.session.id);

// Exact, prefix and wildcard; the publisher hears itself only when it says so.
const exact = await listen(b.session, 'com.app.one');
const prefix = await listen(b.session, 'com.ap', { match: 'prefix' });
const other = await listen(b.session, 'com.an', { match: 'prefix' });
const wildcard = await listen(b.session, 'com..one', { match: 'wildcard' });
const own = await listen(a.session, 'com.app.one');
await a.session.publish('com.app.one', [1, 'two', { three: 3 }], { k: 'v' }, { acknowledge: true });
for (const got of [exact, prefix, wildcard]) {
  await got.until(1);
  assert.deepEqual(got.events[0].args, [1, 'two', { three: 3 }]);
  assert.equal(got.events[0].kwargs.k, 'v');
  assert.equal(got.events[0].details.topic, 'com.app.one');
}
const published = await a.session.publish('com.app.one', [[1, 2]], {}, { acknowledge: true, exclude_me: false, disclose_me: true });
await own.until(1);
await exact.until(2);
assert.deepEqual(own.events[0].args, [[1, 2]]);
assert.equal(exact.events[1].details.publication, published.id);
assert.equal(exact.events[1].details.publisher, a.session.id);
assert.equal(other.events.length, 0);

// Who is excluded, and who is eligible.
await a.session.publish('com.app.one', ['not b'], {}, { acknowledge: true, exclude: [b.session.id], exclude_me: false });
await own.until(2);
await a.session.publish('com.app.one', ['only b'], {}, { acknowledge: true, eligible: [b.session.id], exclude_me: false });
await exact.until(3);
assert.deepEqual(exact.events[2].args, ['only b']);

// MQTT hears WAMP, and WAMP hears MQTT.
const client = await mqtt.connectAsync(mqttUrl, { protocolVersion: 5 });
const heard = [];
let more = () => {};
client.on('message', (topic, payload, packet) => { heard.push({ topic, payload, packet }); more(); });
const hears = (n) => new Promise((done) => { more = () => heard.length >= n && done(); more(); });
await client.subscribeAsync('com/app/#');
await a.session.publish('com.app.two', [{ x: 1 }], { k: [1] }, { acknowledge: true });
await hears(1);
assert.equal(heard[0].topic, 'com/app/two');
assert.equal(heard[0].payload.toString(), '{"x":1}');
assert.equal(heard[0].packet.properties.userProperties['wamp-kwargs'], '{"k":[1]}');
assert.equal(heard[0].packet.properties.userProperties['wamp-publication'], undefined);
const ofMqtt = await listen(b.session, 'com.app.three');
await client.publishAsync('com/app/three', '{"y":2}', { qos: 1 });
await client.publishAsync('com/app/three', 'no json', { qos: 0 });
await client.publishAsync('com/app/three', Buffer.from([0xff, 0xfe]), { qos: 0 });
await ofMqtt.until(3);
assert.deepEqual(ofMqtt.events.slice(0, 2).map((event) => event.args), [[{ y: 2 }], ['no json']]);

// Retained values, from both.
await client.publishAsync('kept/mqtt', '"m"', { qos: 1, retain: true });
await a.session.publish('kept.wamp', ['w'], {}, { acknowledge: true, retain: true });
const kept = await listen(b.session, 'kept.', { match: 'prefix', get_retained: true });
await kept.until(2);
assert.deepEqual(kept.events.map((event) => event.args[0]).sort(), ['m', 'w']);
assert.ok(kept.events.every((event) => event.details.retained));

// Refusals are errors of the request, and nothing else.
const fails = async (promise, error) => assert.equal((await promise.then(() => ({}), (e) => e)).error, error);
await fails(a.session.publish('com.bad topic', [], {}, { acknowledge: true }), 'wamp.error.invalid_uri');
await fails(a.session.subscribe('com..one', () => {}), 'wamp.error.invalid_uri');
await fails(a.session.call('com.nobody'), 'wamp.error.no_such_procedure');

// Meta API.
const count = await a.session.call('wamp.session.count');
assert.ok(count >= 2, `${count}`);
assert.ok((await a.session.call('wamp.session.list')).includes(b.session.id));
assert.equal((await a.session.call('wamp.session.get', [b.session.id])).session, b.session.id);
const found = await a.session.call('wamp.subscription.lookup', ['com.app.one']);
assert.ok((await a.session.call('wamp.subscription.list_subscribers', [found])).includes(b.session.id));
const leaves = await listen(a.session, 'wamp.session.on_leave');
const will = await listen(a.session, 'com.will');
await b.session.call('wamp.session.add_testament', ['com.will', ['gone'], {}]);
await b.session.unsubscribe(exact.subscription);
b.connection.close();
await will.until(1);
assert.deepEqual(will.events[0].args, ['gone']);
await leaves.until(1);
assert.ok(Number.isInteger(leaves.events[0].args[0]));

// A session that is killed is told so.
const c = await open();
const closed = new Promise((done) => { c.connection.onclose = (reason, details) => { done(details); return true; }; });
await a.session.call('wamp.session.kill', [c.session.id], { reason: 'com.why', message: 'for a test' });
assert.equal((await closed).reason, 'com.why');

await client.endAsync();
a.connection.close();
console.log('ok');
setTimeout(() => process.exit(0), 50);
