// What HyperNetClient of fox-wamp's package does, as its package has it.
import net from 'node:net';
import assert from 'node:assert/strict';
import { Inbox, foxClient, hyper, require, run } from './setup.mjs';

const msgpack = require('msgpack-lite');
const refused = (promise) => promise.then(() => assert.fail('it was not refused'), (why) => why);

/// A connection without a client: what is sent is what is said.
function bare() {
  const socket = net.connect(Number(hyper.split(':').pop()), '127.0.0.1');
  const inbox = new Inbox();
  const decoder = new msgpack.Decoder();
  decoder.on('data', (message) => inbox.push(message));
  socket.on('data', (bytes) => decoder.decode(bytes));
  socket.on('close', () => inbox.push('closed'));
  socket.on('error', () => {});
  return { say: (message) => socket.write(msgpack.encode(message)), bytes: (bytes) => socket.write(bytes), inbox, socket };
}

run({
  async echo_and_publish() {
    const client = await foxClient();
    for (const value of [1, 'text', { a: [1, { b: null }] }, [1], [], [1, 2], true]) {
      assert.deepEqual(await client.echo(value), value);
    }
    assert.equal(await client.echo(null), null);
    const other = await foxClient();
    const inbox = new Inbox();
    const subscription = await client.subscribe('com.myapp.*', (value, options) => inbox.push(value, options));
    for (const value of [{ message: 'Hello' }, [1], [], [1, 2], 0, 'text']) {
      await other.publish('com.myapp.topic1', value, { acknowledge: true, headers: { h: 'x' } });
      const [heard, options] = await inbox.next();
      assert.deepEqual(heard, value);
      assert.equal(options.topic, 'com.myapp.topic1');
      assert.deepEqual(options.headers, { h: 'x' });
      assert.ok(Number.isInteger(options.publisher) && Number.isInteger(options.publication));
    }
    await other.publish('com.myapp.topic1', null, { acknowledge: true });
    assert.equal((await inbox.next())[0], null);
    await client.unsubscribe(subscription);
    assert.equal((await refused(client.unsubscribe(subscription))).code, 105);
    assert.equal((await refused(client.publish('a..b', 1, { acknowledge: true }))).code, 111);
    assert.equal((await refused(client.publish('wamp.mine', 1, { acknowledge: true }))).code, 111);
  },

  async own_events_only_when_asked_for() {
    const client = await foxClient();
    const inbox = new Inbox();
    await client.subscribe('own.topic', (value) => inbox.push(value));
    await client.publish('own.topic', 'not mine', { acknowledge: true });
    await client.publish('own.topic', 'mine', { acknowledge: true, exclude_me: false });
    assert.deepEqual(await inbox.next(), ['mine']);
  },

  async every_trace_is_one_of_its_own() {
    const client = await foxClient();
    const other = await foxClient();
    const [first, second] = [new Inbox(), new Inbox()];
    const one = await client.subscribe('twice.*', (value) => first.push(value));
    await client.subscribe('twice.*', (value) => second.push(value));
    await other.publish('twice.a', 1, { acknowledge: true });
    assert.deepEqual([await first.next(), await second.next()], [[1], [1]]);
    await client.unsubscribe(one);
    await other.publish('twice.a', 2, { acknowledge: true });
    assert.deepEqual(await second.next(), [2]);
    assert.equal(first.come.length, 0);
  },

  async retained_values() {
    const client = await foxClient();
    const publish = (topic, value, more) => client.publish(topic, value, { acknowledge: true, retain: true, ...more });
    await publish('kept.a', { x: 1, n: { p: 1 } });
    await publish('kept.a', { y: 2, n: { q: 2 } });
    await publish('kept.b', 'gone');
    await publish('kept.b', false);
    const inbox = new Inbox();
    await client.subscribe('kept.#', (value, options) => inbox.push(value, options.topic), { retainedState: true });
    assert.deepEqual(await inbox.next(), [{ x: 1, y: 2, n: { p: 1, q: 2 } }, 'kept.a']);
    const other = await foxClient();
    await other.publish('kept.c', 'live', { acknowledge: true });
    assert.deepEqual(await inbox.next(), ['live', 'kept.c']);
  },

  async filters_and_history() {
    const [client, other] = [await foxClient(), await foxClient()];
    const [posts, past] = [new Inbox(), new Inbox()];
    const traced = (value) => client.publish('past.a', value, { acknowledge: true, trace: true });
    await other.subscribe('past.#', (value) => posts.push(value), { filter: { type: 'post' } });
    const seen = new Inbox();
    await other.subscribe('past.a', (value, options) => seen.push(value, options.publication));
    for (const value of [{ type: 'post', n: 1 }, { type: 'like' }, { type: 'post', n: 2 }]) await traced(value);
    assert.deepEqual([await posts.next(), await posts.next()], [[{ type: 'post', n: 1 }], [{ type: 'post', n: 2 }]]);
    const [, first] = await seen.next();
    await other.subscribe('past.#', (value) => past.push(value), { after: first });
    await traced({ type: 'live' });
    const heard = [await past.next(), await past.next(), await past.next()];
    assert.deepEqual(heard, [[{ type: 'like' }], [{ type: 'post', n: 2 }], [{ type: 'live' }]]);
    assert.equal((await refused(other.subscribe('past.#', () => {}, { after: {} }))).code, 112);
    assert.equal((await refused(other.subscribe('a.#.b', () => {}))).code, 111);
  },

  async a_snapshot_ends_by_itself() {
    const peer = bare();
    peer.say({ ft: 'LOGIN', id: 1, data: { realm: 'realm1' } });
    peer.say({ ft: 'PUSH', id: 2, uri: ['snap', 'a'], data: { kv: 'kept' }, opt: { retain: true }, ack: true });
    assert.equal((await peer.inbox.next())[0].rsp, 'OK');
    assert.equal((await peer.inbox.next())[0].id, 2);
    peer.say({ ft: 'TRACE', id: 3, uri: ['snap', '#'], opt: { snapshot: true, retained: true } });
    const [trace] = await peer.inbox.next();
    assert.equal(trace.rsp, 'ACK');
    const [event] = await peer.inbox.next();
    assert.deepEqual([event.id, event.rsp, event.uri, event.opt, event.data], [3, 'EVENT', ['snap', 'a'], { retained: true }, { kv: 'kept' }]);
    assert.deepEqual(await peer.inbox.next(), [{ id: 3, rsp: 'OK', qid: trace.qid }]);
    peer.say({ ft: 'UNTRACE', id: 4, unr: trace.qid });
    assert.equal((await peer.inbox.next())[0].data.code, 105);
    peer.socket.destroy();
  },

  async locks() {
    const [one, two] = [await foxClient(), await foxClient()];
    const lock = { acknowledge: true, retain: true, when: null, will: null };
    await one.publish('lock.door', { by: 1 }, { ...lock });
    assert.equal((await refused(two.publish('lock.door', { by: 2 }, { ...lock }))).code, 110);
    let granted = false;
    const waits = two.publish('lock.door', { by: 2 }, { ...lock, watch: true }).then(() => { granted = true; });
    await two.echo('still here');
    assert.equal(granted, false);
    one.close();
    await waits;
    const three = await foxClient();
    const inbox = new Inbox();
    await three.subscribe('lock.door', (value) => inbox.push(value), { retainedState: true });
    assert.deepEqual(await inbox.next(), [{ by: 2 }]);
  },

  async calls() {
    const [callee, caller] = [await foxClient(), await foxClient()];
    const registration = await callee.register('math.echo', (value) => value);
    for (const value of [1, 'x', { a: 1 }, [1], [], [1, 2]]) {
      assert.deepEqual(await caller.callrpc('math.echo', value), value);
    }
    assert.equal(await caller.callrpc('math.echo', null), null);
    const steps = [];
    await callee.register('math.steps', (value, options) => { options.progress(1); options.progress([2]); return 'done'; });
    assert.equal(await caller.callrpc('math.steps', null, { progress: (value) => steps.push(value) }), 'done');
    assert.deepEqual(steps, [1, [2]]);
    await callee.register('math.fails', () => { throw new Error('no such luck'); });
    assert.equal(await refused(caller.callrpc('math.fails', 1)), 'no such luck');
    await callee.unregister(registration);
    assert.equal((await refused(callee.unregister(registration))).code, 105);
    assert.deepEqual(await refused(caller.callrpc('math.echo', 1)), {
      code: 104, message: 'no callee registered for procedure <math.echo>',
    });
  },

  async one_task_at_a_time_unless_said_otherwise() {
    const [callee, caller] = [await foxClient(), await foxClient()];
    let [running, most] = [0, 0];
    const work = async (value) => {
      running += 1;
      most = Math.max(most, running);
      await callee.echo(value);
      running -= 1;
      return value;
    };
    await callee.register('work.one', work);
    assert.deepEqual(await Promise.all([1, 2, 3].map((value) => caller.callrpc('work.one', value))), [1, 2, 3]);
    assert.equal(most, 1);
  },

  async pipe() {
    const [from, to] = [await foxClient(), await foxClient()];
    await to.subscribe('piped.a', () => {});
    const listener = await foxClient('realm2');
    const target = await foxClient('realm2');
    const inbox = new Inbox();
    await listener.subscribe('piped.a', (value, options) => inbox.push(value, options.headers));
    await from.pipe(target, 'piped.*');
    await to.publish('piped.a', { v: 1 }, { acknowledge: true, headers: { h: 1 } });
    assert.deepEqual(await inbox.next(), [{ v: 1 }, { h: 1 }]);
  },

  async meta() {
    const client = await foxClient();
    assert.ok(await client.callrpc('wamp.session.count') >= 1);
  },

  async what_is_said_before_login_is_refused() {
    const peer = bare();
    peer.say({ ft: 'ECHO', id: 1, data: { kv: 1 } });
    assert.deepEqual(await peer.inbox.next(), [{ id: 1, rsp: 'ERR', data: { code: 109, message: 'login first' } }]);
    peer.say({ ft: 'LOGIN', id: 2, data: {} });
    assert.equal((await peer.inbox.next())[0].data.code, 112);
    peer.say({ ft: 'LOGIN', id: 3, data: { realm: 'realm1' } });
    assert.deepEqual(await peer.inbox.next(), [{ id: 3, rsp: 'OK' }]);
    peer.say({ ft: 'LOGIN', id: 4, data: { realm: 'realm1' } });
    assert.equal((await peer.inbox.next())[0].data.message, 'logged in already');
    peer.say({ ft: 'DANCE', id: 5 });
    assert.equal((await peer.inbox.next())[0].data.code, 112);
    peer.say({ ft: 'TRACE', id: 6, uri: 'a.b' });
    assert.equal((await peer.inbox.next())[0].data.code, 112);
    peer.say({ ft: 'YIELD', qid: 999, rqt: 'OK', data: null });
    peer.say({ ft: 'CONFIRM' });
    peer.say({ ft: 'ECHO', id: 7, data: 'x' });
    assert.deepEqual(await peer.inbox.next(), [{ id: 7, rsp: 'OK', data: 'x' }]);
    peer.say({ ft: 'GOODBYE' });
    assert.deepEqual(await peer.inbox.next(), ['closed']);
  },

  async realm_names_are_checked() {
    for (const realm of ['', 'with space', 'UPPER/x', '#', 'a..b', 'x'.repeat(300)]) {
      const peer = bare();
      peer.say({ ft: 'LOGIN', id: 1, data: { realm } });
      const [answer] = await peer.inbox.next();
      assert.deepEqual([answer.id, answer.rsp, answer.data.code], [1, 'ERR', 109]);
      assert.deepEqual(await peer.inbox.next(), ['closed']);
    }
  },

  async broken_bytes_end_the_connection_and_nothing_else() {
    const client = await foxClient();
    const attempts = [
      Buffer.from([0xc1]),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      msgpack.encode([1, 2]),
      Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff]),
      Buffer.alloc(100_000, 0x91),
    ];
    for (const login of [false, true]) {
      for (const bytes of attempts) {
        const peer = bare();
        if (login) {
          peer.say({ ft: 'LOGIN', id: 1, data: { realm: 'realm1' } });
          await peer.inbox.next();
        }
        peer.bytes(bytes);
        // The deep one is a value that goes on and on: nothing can be said of it yet.
        if (bytes.length === 100_000) peer.bytes(Buffer.from([0xc0]));
        let said;
        do [said] = await peer.inbox.next(); while (said !== 'closed' && said.rsp === 'ERR');
        assert.equal(said, 'closed');
      }
    }
    assert.equal(await client.echo('alive'), 'alive');
  },

  async a_message_may_come_byte_by_byte() {
    const peer = bare();
    peer.socket.setNoDelay(true);
    const login = msgpack.encode({ ft: 'LOGIN', id: 1, data: { realm: 'realm1' } });
    for (const byte of login) peer.bytes(Buffer.from([byte]));
    assert.equal((await peer.inbox.next())[0].rsp, 'OK');
    const large = { ft: 'ECHO', id: 2, data: { kv: 'x'.repeat(300_000) } };
    const bytes = msgpack.encode(large);
    for (let at = 0; at < bytes.length; at += 7001) peer.bytes(bytes.subarray(at, at + 7001));
    peer.say({ ft: 'ECHO', id: 3, data: 'behind' });
    assert.equal((await peer.inbox.next())[0].data.kv.length, 300_000);
    assert.equal((await peer.inbox.next())[0].data, 'behind');
  },
});
