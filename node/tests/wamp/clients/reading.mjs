// What a subscriber may ask for, by autobahn-js and mqtt.js. Arguments: the check, and URLs.
import assert from 'node:assert/strict';
import { bare, failure, heap, listen, mqtt, open, until } from './nodes.mjs';

const [check, url, ...more] = process.argv.slice(2);
const ack = { acknowledge: true };
const values = (got) => got.all.map((event) => event.args[0]);
const INVALID = 'wamp.error.invalid_argument';

// A client of MQTT 5, with what comes to it.
const device = async (at, options = {}) => {
  const client = mqtt.connect(at, { protocolVersion: 5, reconnectPeriod: 0, ...options });
  const came = heap();
  client.on('message', (topic, payload, packet) => {
    came.add({ topic, text: payload.toString(), retain: packet.retain, user: packet.properties?.userProperties ?? {} });
  });
  // What waits for a kept session comes right behind the CONNACK.
  await new Promise((connected) => client.once('connect', connected));
  const asked = (user) => (user ? { properties: { userProperties: user } } : {});
  return { client, ...came, subscribe: (filter, user) => client.subscribeAsync(filter, { qos: 1, ...asked(user) }) };
};
const texts = (came) => came.all.map((message) => message.text);

const checks = {
  async filters() {
    const [a, b] = [await open(url), await open(url)];
    const post = { filter: { type: 'post' } };
    await a.session.publish('room.kept.1', [{ type: 'post', n: 0 }], {}, { retain: true, ...ack });
    await a.session.publish('room.kept.2', [{ type: 'note' }], {}, { retain: true, ...ack });
    const posts = await listen(b.session, 'room.', { match: 'prefix', get_retained: true, ...post });
    const all = await listen(b.session, 'room.', { match: 'prefix' });
    const notes = await listen(b.session, 'room.', { match: 'prefix', filter: { type: 'note' } });
    assert.notEqual(posts.subscription.id, notes.subscription.id);
    const c = await device(more[0]);
    await c.subscribe('room/#', { 'weir-filter': '{"type":"post"}' });
    const kept = { clean: false, clientId: 'kept', properties: { sessionExpiryInterval: 600 } };
    const absent = await device(more[0], kept);
    await absent.subscribe('room/live', { 'weir-filter': '{"n":[1]}' });
    await absent.client.endAsync();

    await a.session.publish('room.live', [{ type: 'note', n: 1 }], {}, ack);
    await a.session.publish('room.live', [{ type: 'post', n: 1 }], {}, ack);
    // The body says nothing of it, the named arguments do.
    await a.session.publish('room.live', ['x'], { type: 'post' });
    await a.session.publish('room.live', [1, 2], {}, ack);
    const d = await device(more[0]);
    await d.client.publishAsync('room/live', '{"type":"post","n":[1,2]}', { qos: 1 });
    await d.client.publishAsync('room/live', 'no json', { qos: 0 });
    await d.client.publishAsync('room/end', '{"type":"post","n":"end"}', { qos: 1 });
    await posts.until(1, (event) => event.args[0]?.n === 'end');
    assert.deepEqual(values(posts), [
      { type: 'post', n: 0 }, { type: 'post', n: 1 }, 'x', { type: 'post', n: [1, 2] }, { type: 'post', n: 'end' },
    ]);
    assert.equal(posts.all[0].details.retained, true);
    await all.until(7);
    await notes.until(1);
    assert.deepEqual(values(notes), [{ type: 'note', n: 1 }]);
    await c.until(1, (message) => message.topic === 'room/end');
    assert.deepEqual(texts(c).sort(), [
      '"x"', '{"type":"post","n":"end"}', '{"type":"post","n":0}', '{"type":"post","n":1}', '{"type":"post","n":[1,2]}',
    ].sort());
    // Queued copies of a session that was away.
    const back = await device(more[0], kept);
    await back.until(1);
    await d.client.publishAsync('room/live', '{"n":2}', { qos: 1 });
    await d.client.publishAsync('room/live', '{"n":[1],"last":true}', { qos: 1 });
    await back.until(2);
    assert.deepEqual(texts(back), ['{"type":"post","n":[1,2]}', '{"n":[1],"last":true}']);
    // The same filter without a condition takes its place, and is given up by its name.
    await back.subscribe('room/live');
    await d.client.publishAsync('room/live', '{"n":3}', { qos: 1 });
    await back.until(3);
    await back.client.unsubscribeAsync('room/live');
    await d.client.publishAsync('room/live', '{"n":4}', { qos: 1 });
    // What was recorded.
    const past = await listen(b.session, 'room.', { match: 'prefix', after: 0, ...post });
    await past.until(1, (event) => event.args[0]?.n === 'end');
    assert.ok(values(past).every((value) => value.type === 'post' || value === 'x'), JSON.stringify(values(past)));
    assert.equal(back.all.length, 3);
    for (const one of [c, d, back]) await one.client.endAsync();
    a.connection.close(); b.connection.close();
  },

  // Routes change all the time while a subscription of the same filter hears everything.
  async crossing() {
    const [a, b] = [await open(url), await open(url)];
    const own = { match: 'prefix', after: 0 };
    const all = await listen(b.session, 'cross.', own);
    const publish = (value) => a.session.publish('cross.x', [value], {}, ack);
    let busy = true;
    const publishing = (async () => {
      for (let n = 0; n < 300; n += 1) await publish(n);
      busy = false;
    })();
    while (busy) {
      const other = await listen(b.session, 'cross.', own);
      await b.session.unsubscribe(other.subscription);
    }
    await publishing;
    await publish('end');
    await all.until(1, (event) => event.args[0] === 'end');
    assert.deepEqual(values(all), [...Array(300).keys(), 'end']);
    a.connection.close(); b.connection.close();
  },

  async retained() {
    const [a, b] = [await open(url), await open(url)];
    const keep = (value, kwargs) => a.session.publish('kv.x', value, kwargs, { retain: true, ...ack });
    await keep([1], { k: 'v' });
    const changes = await listen(b.session, 'kv.x', { retained: true });
    const state = await listen(b.session, 'kv.x', { retainedState: true });
    const plain = await listen(b.session, 'kv.x');
    await changes.until(1);
    await state.until(1);
    assert.equal(changes.all[0].details.retained, true);
    assert.equal(changes.all[0].kwargs.k, 'v');
    await a.session.publish('kv.x', ['live'], {}, ack);
    const { id } = await keep([2]);
    await keep([]);
    await keep([3]);
    await plain.until(4);
    await changes.until(4);
    assert.deepEqual(changes.all.map((event) => event.args), [[1], [2], [], [3]]);
    await state.until(5);
    assert.deepEqual(state.all.map((event) => event.args), [[1], ['live'], [2], [], [3]]);
    assert.equal(changes.all[1].details.publication, id);
    assert.ok(!plain.all[0].details.retained && !changes.all[1].details.retained);
    a.connection.close(); b.connection.close();
  },

  async after() {
    const [a, b] = [await open(url), await open(url)];
    const live = await listen(b.session, 'log.a');
    const ids = [];
    for (let n = 0; n < 20; n += 1) ids.push((await a.session.publish('log.a', [n], { n }, ack)).id);
    await live.until(20);
    assert.deepEqual(live.all.map((event) => event.details.publication), ids);
    assert.ok(ids.every((id, at) => at === 0 || id > ids[at - 1]), 'numbers rise');
    // Behind each of them, as a number and as a text, by its own subscription.
    for (const n of [0, 7, 18]) {
      for (const after of [ids[n], String(ids[n])]) {
        const got = await listen(b.session, 'log.a', { after });
        await got.until(19 - n);
        assert.deepEqual(values(got), [...Array(19 - n).keys()].map((more_) => n + 1 + more_));
        assert.deepEqual(got.all.map((event) => event.details.publication), ids.slice(n + 1));
        assert.equal(got.all[0].kwargs.n, n + 1);
        await b.session.unsubscribe(got.subscription);
      }
    }
    // Recorded first, then live ones, each once, while somebody publishes.
    let stop = false;
    const publishing = (async () => {
      let n = 20;
      for (; !stop; n += 1) await a.session.publish('log.a', [n], {}, ack);
      return n;
    })();
    const readers = [];
    for (let n = 0; n < 5; n += 1) {
      const got = await listen(b.session, 'log.', { match: 'prefix', after: ids[n] });
      readers.push([n, got]);
      await got.until(30);
    }
    stop = true;
    const end = await publishing;
    for (const [n, got] of readers) {
      await got.until(end - n - 1);
      assert.deepEqual(values(got), [...Array(end - n - 1).keys()].map((later) => n + 1 + later));
    }
    // Traced without being acknowledged; in a realm of fox-wamp, only what is traced.
    const [f, g] = [await open(url, { realm: 'fox' }), await open(url, { realm: 'fox' })];
    const heard = await listen(g.session, 'news.*');
    f.session.publish('news.x', ['traced'], {}, { trace: true });
    await f.session.publish('news.x', ['seen only'], {}, ack);
    await f.session.publish('news.y', ['both'], {}, { trace: true, ...ack });
    await heard.until(3);
    const again = await listen(g.session, 'news.#', { after: '0' });
    await again.until(2);
    assert.deepEqual(values(again), ['traced', 'both']);
    assert.equal(again.all[0].details.publication, heard.all[0].details.publication);
    // A record that has gone: whatever has a higher number.
    const [s, t] = [await open(url, { realm: 'short' }), await open(url, { realm: 'short' })];
    const old = (await s.session.publish('log.b', ['old'], {}, ack)).id;
    for (let n = 0; n < 300; n += 1) await s.session.publish('log.b', [n], {}, ack);
    const rest = await listen(t.session, 'log.b', { after: old });
    await rest.until(1, (event) => event.args[0] === 299);
    assert.ok(rest.all.length >= 5 && rest.all.length < 300, `${rest.all.length}`);
    for (const one of [a, b, f, g, s, t]) one.connection.close();
  },

  async snapshots() {
    const a = await open(url);
    const b = await bare(url);
    const subscribe = async (options, topic) => {
      b.say(32, b.next(), options, topic);
    };
    await a.session.publish('snap.x', ['kept'], {}, { retain: true, ...ack });
    await a.session.publish('snap.y', [1], {}, ack);
    await subscribe({ match: 'prefix', snapshot: true }, 'snap.');
    const [revoked] = await b.until(1, (message) => message[0] === 35);
    const [subscribed] = b.all.filter((message) => message[0] === 33);
    assert.deepEqual(revoked, [35, 0, { subscription: subscribed[2] }]);
    assert.deepEqual(b.all.map((message) => message[0]), [33, 36, 35]);
    await subscribe({ match: 'prefix', snapshot: true, after: 0 }, 'snap.');
    await b.until(2, (message) => message[0] === 35);
    const events = b.all.filter((message) => message[0] === 36);
    assert.deepEqual(events.map((event) => event[4][0]), ['kept', 'kept', 1]);
    // Nothing comes any more, and unsubscribing is too late.
    await a.session.publish('snap.x', ['later'], {}, ack);
    b.say(34, b.next(), subscribed[2]);
    const [refused] = await b.until(1, (message) => message[0] === 8);
    assert.equal(refused[4], 'wamp.error.no_such_subscription');
    assert.equal(b.all.filter((message) => message[0] === 36).length, 3);
    b.socket.close(); a.connection.close();
  },

  async events() {
    const [a, b] = [await open(url), await open(url)];
    assert.equal(b.session.features?.broker?.event_history ?? b.details.roles.broker.features.event_history, true);
    const got = await listen(b.session, 'events.', { match: 'prefix' });
    for (let n = 0; n < 5; n += 1) await a.session.publish('events.x', [n], { k: n }, ack);
    await a.session.publish('other', [9], {}, ack);
    await got.until(5);
    const call = (args, kwargs) => b.session.call('wamp.subscription.get_events', args, kwargs);
    const id = got.subscription.id;
    const last = await call([id, 2]);
    assert.deepEqual(last.map((event) => event.args), [[3], [4]]);
    assert.equal(last[1].publication, got.all[4].details.publication);
    assert.equal(last[1].details.topic, 'events.x');
    assert.deepEqual(last[1].kwargs, { k: 4 });
    assert.ok(Date.parse(last[1].timestamp) > 0);
    assert.equal((await call([id])).length, 5);
    const named = async (kwargs) => (await call([id], kwargs)).map((event) => event.args[0]);
    assert.deepEqual(await named({ limit: 2 }), [0, 1]);
    assert.deepEqual(await named({ limit: 2, reverse: true }), [4, 3]);
    assert.deepEqual(await named({ after_publication: last[0].publication }), [4]);
    assert.deepEqual(await named({ before_publication: last[0].publication }), [0, 1, 2]);
    assert.equal((await failure(call([1]))).error, 'wamp.error.no_such_subscription');
    assert.equal((await failure(call([]))).error, INVALID);
    assert.equal((await failure(call([id, -1]))).error, INVALID);
    a.connection.close(); b.connection.close();
  },

  async mqtt_after() {
    const a = await open(url);
    const writer = await device(more[0]);
    const ids = [];
    for (let n = 0; n < 5; n += 1) ids.push((await a.session.publish('dev.x', [n], {}, ack)).id);
    await writer.client.publishAsync('dev/x', '5', { qos: 1 });
    await writer.client.publishAsync('dev/x', 'not recorded', { qos: 0 });
    const reader = await device(more[0]);
    await reader.subscribe('dev/+', { 'weir-after': String(ids[1]), 'weir-filter': '{}' });
    await reader.until(4);
    await writer.client.publishAsync('dev/x', '6', { qos: 1 });
    await writer.client.publishAsync('dev/x', '7', { qos: 0 });
    await reader.until(6);
    assert.deepEqual(texts(reader).sort(), ['2', '3', '4', '5', '6', '7']);
    assert.ok(reader.all.every((message) => !('wamp-publication' in message.user)));
    // On behind a position.
    const { user } = reader.all.find((message) => message.text === '5');
    const again = await device(more[0]);
    await again.subscribe('dev/x', { 'weir-after': user['weir-position'] });
    await again.until(1);
    assert.deepEqual(texts(again), ['6']);
    await again.client.unsubscribeAsync('dev/x');
    await writer.client.publishAsync('dev/x', '8', { qos: 1 });
    await reader.until(7);
    assert.equal(again.all.length, 1);
    for (const one of [writer, reader, again]) await one.client.endAsync();
    a.connection.close();
  },

  async bad_input() {
    const none = await open(url, { realm: 'nohistory' });
    const a = await open(url);
    const refused = async (options, session = a.session) =>
      (await failure(session.subscribe('bad.x', () => {}, options)));
    const noHistory = await refused({ after: 1 }, none.session);
    assert.equal(noHistory.error, INVALID);
    assert.match(noHistory.args[0], /history/);
    for (const after of ['', 'x', -1, [], {}, 1.5, 2 ** 53]) {
      const error = await refused({ after });
      assert.equal(error.error, INVALID, JSON.stringify(after));
      assert.match(error.args[0], /after/);
    }
    let deep = 1;
    for (let n = 0; n < 40; n += 1) deep = { a: deep };
    for (const filter of [deep, 'x'.repeat(5000)]) {
      const error = await refused({ filter });
      assert.equal(error.error, INVALID);
      assert.match(error.args[0], /^filter/);
    }
    assert.equal((await failure(a.session.subscribe('$where.x.bad', () => {}))).error, 'wamp.error.invalid_uri');
    // Conditions made to be slow: only so many of a session, and a large body is not looked into.
    const slow = (n) => ({ filter: { [`k${n}`]: Object.fromEntries([...Array(200).keys()].map((k) => [`m${k}`, k])) } });
    for (let n = 0; n < 100; n += 1) await a.session.subscribe('bad.x', () => {}, slow(n));
    assert.equal((await refused(slow(100))).error, 'wamp.error.quota_exceeded');
    const b = await open(url);
    const other = await listen(b.session, 'bad.', { match: 'prefix' });
    const filtered = await listen(b.session, 'bad.', { match: 'prefix', filter: {} });
    await none.session.publish('bad.x', [1], {}, ack);
    const c = await open(url);
    await c.session.publish('bad.x', ['x'.repeat(300_000)], {}, ack);
    await c.session.publish('bad.x', ['small'], {}, ack);
    await other.until(2);
    await filtered.until(1);
    assert.deepEqual(values(filtered), ['small']);
    // MQTT says why.
    const d = await device(more[0]);
    const code = async (filter, user) => (await d.subscribe(filter, user).then(
      (granted) => granted[0]?.qos, (error) => error.message));
    for (const user of [{ 'weir-filter': '{' }, { 'weir-after': 'soon' }]) {
      assert.match(await code('bad/y', user), /Implementation specific/, JSON.stringify(user));
    }
    assert.match(await code('$share/g/bad/y', { 'weir-filter': '1' }), /Implementation specific/);
    assert.match(await code('$where/x/bad/y'), /Topic Filter invalid/);
    assert.equal(await code('bad/y'), 1);
    await d.client.endAsync();
    for (const one of [none, a, b, c]) one.connection.close();
  },

  async across() {
    const [urlB, pid, mqttB] = more;
    const [a, b, writer] = [await open(url), await open(urlB), await open(urlB)];
    const ids = [];
    for (let n = 0; n < 50; n += 1) ids.push((await a.session.publish('x.log', [n], {}, ack)).id);
    // Publishers at both nodes go on; what they hear is acknowledged.
    let stop = false;
    const acknowledged = [];
    const publish = async ({ session, ended }, name) => {
      let over = false;
      ended.then(() => { over = true; });
      for (let n = 0; !stop && !over; n += 1) {
        const sent = session.publish('x.log', [`${name}${n}`], {}, ack).then(() => acknowledged.push(`${name}${n}`), () => {});
        await Promise.race([sent, ended]);
      }
    };
    const publishers = [publish(a, 'a'), publish(writer, 'b')];
    const got = await listen(b.session, 'x.log', { after: ids[9] });
    await got.until(60);
    const early = values(got).slice(0, 40);
    assert.deepEqual(early, [...Array(40).keys()].map((n) => n + 10));
    process.kill(Number(pid), 'SIGKILL');
    const late = got.all.length + 100;
    await got.until(late);
    stop = true;
    await Promise.all(publishers);
    // All of it is in the history, each once, and it is what was heard live or more.
    const d = await device(mqttB);
    await d.client.publishAsync('x/log', '"end"', { qos: 1 });
    const again = await listen(b.session, 'x.log', { after: ids[9] });
    await again.until(1, (event) => event.args[0] === 'end');
    const [heard, told] = [values(got), values(again)];
    assert.equal(new Set(told).size, told.length, 'nothing twice');
    assert.equal(new Set(heard).size, heard.length, 'nothing twice live');
    for (const one of acknowledged) assert.ok(told.includes(one), `${one} is in the history`);
    // What one publisher sent is in its order.
    for (const name of ['a', 'b']) {
      const own = told.filter((value) => String(value).startsWith(name));
      assert.deepEqual(own, own.map((_, n) => `${name}${n}`));
    }
    await got.until(1, (event) => event.args[0] === 'end');
    const live = new Set(values(got));
    const missed = acknowledged.filter((one) => one.startsWith('b') && !live.has(one));
    assert.deepEqual(missed, [], 'what the node that lives acknowledged was heard live');
    await d.client.endAsync();
    b.connection.close(); writer.connection.close();
    process.exit(0);
  },

  async tokens() {
    const [urlB, mqttB] = more;
    const watcher = await open(url);
    const grants = await listen(watcher.session, 'lock.t');
    const lock = { retain: true, when: null, watch: true, will: null, ...ack };
    const tokens = [];
    const contend = async (n) => {
      const { session, connection } = await open(n % 2 ? url : urlB);
      for (let turn = 0; turn < 3; turn += 1) {
        const { id } = await session.publish('lock.t', [`${n}/${turn}`], {}, lock);
        // Only the holder is here.
        tokens.push(id);
        await session.publish('lock.t', [], {}, { retain: true, ...ack });
      }
      connection.close();
    };
    await Promise.all([...Array(20).keys()].map(contend));
    assert.equal(tokens.length, 60);
    assert.ok(tokens.every((id, at) => at === 0 || id > tokens[at - 1]), JSON.stringify(tokens));
    assert.ok(tokens.every((id) => Number.isSafeInteger(id)));
    await grants.until(60, (event) => event.args.length === 1);
    const seen = grants.all.filter((event) => event.args.length === 1).map((event) => event.details.publication);
    assert.deepEqual([...new Set(seen)].sort((x, y) => x - y), tokens, 'events say the tokens');
    const d = await device(mqttB);
    await d.client.endAsync();
    watcher.connection.close();
  },
};

await checks[check]();
