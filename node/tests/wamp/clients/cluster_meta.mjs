// The meta API of a realm that is on three nodes, as autobahn-js sees it. Arguments: three WebSocket URLs.
import assert from 'node:assert/strict';
import { failure, listen, open, until } from './nodes.mjs';

const urls = process.argv.slice(2, 5);
const [a, b, c] = await Promise.all(urls.map((url) => open(url)));
const ask = (procedure, ...args) => a.session.call(procedure, args);

// Who comes and goes is heard once, on every node.
const joins = await Promise.all([a, b, c].map((one) => listen(one.session, 'wamp.session.on_join')));
const leaves = await Promise.all([a, b, c].map((one) => listen(one.session, 'wamp.session.on_leave')));
const d = await open(urls[0]);
d.connection.close();
const e = await open(urls[1]);
for (const heard of joins) {
  for (const { id } of [d, e]) await heard.until(1, (event) => event.args[0].session === id);
}
for (const heard of leaves) {
  const [left] = await heard.until(1, (event) => event.args[0] === d.id);
  assert.equal(left.args[2], 'anonymous');
}

// Sessions of all nodes, from any of them.
assert.equal(await ask('wamp.session.count'), 4);
assert.equal(await ask('wamp.session.count', ['nobody']), 0);
assert.deepEqual(await ask('wamp.session.list'), [a, b, c, e].map((one) => one.id).sort((x, y) => x - y));
assert.equal((await ask('wamp.session.get', b.id)).session, b.id);
assert.equal((await failure(ask('wamp.session.get', 1))).error, 'wamp.error.no_such_session');

// Subscriptions: one id, whatever node it is asked of.
const changes = {};
for (const name of ['on_create', 'on_subscribe', 'on_unsubscribe', 'on_delete']) {
  changes[name] = await listen(a.session, `wamp.subscription.${name}`);
}
const ofB = await listen(b.session, 'app.t');
const id = ofB.subscription.id;
const of = (name) => changes[name].all.filter((event) => (event.args[1].id ?? event.args[1]) === id);
await changes.on_subscribe.until(1, (event) => event.args[1] === id);
const ofC = await listen(c.session, 'app.t');
assert.equal(ofC.subscription.id, id);
await changes.on_subscribe.until(2, (event) => event.args[1] === id);
assert.deepEqual(of('on_create').map((event) => [event.args[0], event.args[1].uri]), [[b.id, 'app.t']]);
assert.equal(await ask('wamp.subscription.lookup', 'app.t'), id);
assert.equal(await ask('wamp.subscription.lookup', 'app.none'), null);
assert.deepEqual(await ask('wamp.subscription.match', 'app.t'), [id]);
assert.ok((await ask('wamp.subscription.list')).exact.includes(id));
assert.equal((await ask('wamp.subscription.get', id)).uri, 'app.t');
assert.deepEqual(await ask('wamp.subscription.list_subscribers', id), [b.id, c.id].sort((x, y) => x - y));
assert.equal(await ask('wamp.subscription.count_subscribers', id), 2);
await b.session.unsubscribe(ofB.subscription);
await changes.on_unsubscribe.until(1, (event) => event.args[1] === id);
assert.equal(of('on_delete').length, 0);
await c.session.unsubscribe(ofC.subscription);
await changes.on_delete.until(1, (event) => event.args[1] === id);
assert.equal((await failure(ask('wamp.subscription.get', id))).error, 'wamp.error.no_such_subscription');

// Registrations: their homes tell, and a session that ends gives its own up.
const told = {};
for (const name of ['on_create', 'on_register', 'on_unregister', 'on_delete']) {
  told[name] = await listen(b.session, `wamp.registration.${name}`);
}
const begun = Date.now();
const names = ['app.p', 'app.q', 'app.r', 'app.s'];
const shared = await Promise.all(names.map((name) => e.session.register(name, () => 'e', { invoke: 'roundrobin' })));
for (const name of names) await c.session.register(name, () => 'c', { invoke: 'roundrobin' });
for (const [at, name] of names.entries()) {
  const { id: registration } = shared[at];
  const is = (event) => (event.args[1].id ?? event.args[1]) === registration;
  assert.equal(await ask('wamp.registration.lookup', name), registration);
  assert.equal(await ask('wamp.registration.match', name), registration);
  const { invoke, created: since } = await ask('wamp.registration.get', registration);
  assert.equal(invoke, 'roundrobin');
  assert.ok(begun <= Date.parse(since) && Date.parse(since) <= Date.now(), since);
  assert.deepEqual(await ask('wamp.registration.list_callees', registration), [e.id, c.id]);
  assert.equal(await ask('wamp.registration.count_callees', registration), 2);
  await told.on_register.until(2, is);
  const created = await told.on_create.until(1, is);
  const expected = [[e.id, name, since]];
  assert.deepEqual(created.map(({ args: [by, what] }) => [by, what.uri, what.created]), expected);
}
assert.equal(await ask('wamp.registration.lookup', 'app.none'), null);
e.connection.close();
for (const { id: registration } of shared) {
  const is = (event) => event.args[1] === registration;
  const [gone] = await told.on_unregister.until(1, is);
  assert.equal(gone.args[0], e.id);
  assert.equal(told.on_delete.all.filter(is).length, 0);
}
c.connection.close();
for (const { id: registration } of shared) await told.on_delete.until(1, (event) => event.args[1] === registration);
assert.deepEqual((await ask('wamp.registration.list')).exact, []);

// A session of another node is ended with the reason that was asked for; nobody ends itself.
const f = await open(urls[2]);
await a.session.call('wamp.session.kill', [f.id], { reason: 'com.why', message: 'for a test' });
assert.deepEqual({ ...(await f.ended) }.reason, 'com.why');
assert.equal((await failure(ask('wamp.session.kill', a.id))).error, 'wamp.error.no_such_session');
await until(async () => (await ask('wamp.session.count')) === 2);
const g = await open(urls[1]);
assert.deepEqual(await ask('wamp.session.kill_by_authid', g.details.authid), [g.id]);
await g.ended;
await until(async () => (await ask('wamp.session.count')) === 2);
const h = await open(urls[2]);
assert.equal(await ask('wamp.session.kill_by_authrole', 'nobody'), 0);
assert.equal(await ask('wamp.session.kill_by_authrole', 'anonymous'), 2);
assert.equal({ ...(await h.ended) }.reason, 'wamp.close.killed');
await b.ended;
const i = await open(urls[1]);
await until(async () => (await ask('wamp.session.count')) === 2);
assert.equal(await ask('wamp.session.kill_all'), 1);
await i.ended;
const [joined, left] = [joins[0].all.map((event) => event.args[0].session), leaves[0].all.map((event) => event.args[0])];
assert.equal(new Set(joined).size, joined.length, `${joined}`);
assert.equal(new Set(left).size, left.length, `${left}`);
process.exit(0);
