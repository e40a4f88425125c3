// What fox-wamp's WAMP clients count on, in a realm that is as they know it; and that others are not.
import assert from 'node:assert/strict';
import { Inbox, mqttClient, run, wampSession } from './setup.mjs';

const failed = (promise) => promise.then(() => assert.fail('it did not fail'), (why) => why);

run({
  async wildcards_stand_in_the_names_of_topics() {
    const session = await wampSession();
    const inbox = new Inbox();
    for (const topic of ['wild.*.end', 'wild.#']) {
      await session.subscribe(topic, (args, kwargs, details) => inbox.push(topic, details.topic));
    }
    const other = await wampSession();
    await other.publish('wild.one.end', [1], {}, { acknowledge: true });
    const heard = [await inbox.next(), await inbox.next()].sort();
    assert.deepEqual(heard, [['wild.#', 'wild.one.end'], ['wild.*.end', 'wild.one.end']]);
    await other.publish('wild', [1], {}, { acknowledge: true });
    assert.deepEqual(await inbox.next(), ['wild.#', 'wild']);
    assert.equal((await failed(other.publish('wild.*', [1], {}, { acknowledge: true }))).error, 'wamp.error.invalid_uri');
    // Elsewhere they are characters, or none.
    const plain = await wampSession('realm2');
    assert.equal((await failed(plain.subscribe('wild.#', () => {}))).error, 'wamp.error.invalid_uri');
  },

  async a_session_that_subscribes_twice_is_told_by_both_handlers() {
    const session = await wampSession();
    const [first, second] = [new Inbox(), new Inbox()];
    const one = await session.subscribe('twice.here', (args) => first.push(args[0]));
    await session.subscribe('twice.here', (args) => second.push(args[0]));
    const other = await wampSession();
    await other.publish('twice.here', [1], {}, { acknowledge: true });
    assert.deepEqual([await first.next(), await second.next()], [[1], [1]]);
    await session.unsubscribe(one);
    await other.publish('twice.here', [2], {}, { acknowledge: true });
    assert.deepEqual(await second.next(), [2]);
  },

  async events_say_who_has_published() {
    const [session, other] = [await wampSession(), await wampSession()];
    const inbox = new Inbox();
    await session.subscribe('who.says', (args, kwargs, details) => inbox.push(details.publisher));
    await other.publish('who.says', [1], {}, { acknowledge: true });
    assert.deepEqual(await inbox.next(), [other.id]);
  },

  async sessions_are_listed_one_to_an_argument() {
    const [session, other] = [await wampSession(), await wampSession()];
    const listed = await session.call('wamp.session.list');
    assert.ok(listed.args.includes(session.id) && listed.args.includes(other.id));
    assert.equal(await session.call('wamp.session.count'), listed.args.length);
    assert.equal((await session.call('wamp.session.get', [other.id])).session, other.id);
    const plain = await wampSession('realm2');
    assert.deepEqual(await plain.call('wamp.session.list'), [plain.id]);
  },

  async everybody_may_register_everything_and_the_first_that_is_free_is_called() {
    const [one, two, caller] = [await wampSession(), await wampSession(), await wampSession()];
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    const begun = new Inbox();
    await one.register('shared.work', () => { begun.push(); return held; }, { concurrency: 1 });
    await two.register('shared.work', () => 'two');
    const first = caller.call('shared.work');
    await begun.next();
    assert.equal(await caller.call('shared.work'), 'two');
    release('one');
    assert.equal(await first, 'one');
    assert.equal(await caller.call('shared.work').then((value) => value), 'one');
  },

  async errors_have_the_names_they_know() {
    const session = await wampSession();
    const { Error: Failure } = await import('./setup.mjs').then(({ require }) => require('autobahn'));
    await session.register('fails.here', () => { throw new Failure('app.error.luck', ['none']); });
    const why = await failed(session.call('fails.here'));
    assert.deepEqual([why.error, why.args], ['wamp.error.callee_failure', ['app.error.luck']]);
    const missing = await failed(session.call('fails.nowhere'));
    assert.deepEqual(missing.args, ['no callee registered for procedure <fails.nowhere>']);
    const reducer = await failed(session.register('fails.reducer', () => 1, { reducer: true }));
    assert.equal(reducer.error, 'wamp.error.option_not_allowed');
    const lock = { acknowledge: true, retain: true, when: { state: 'open' } };
    const refused = await failed(session.publish('fails.when', [1], {}, lock));
    assert.equal(refused.error, 'wamp.error.invalid_payload');
    const plain = await wampSession('realm2');
    await plain.register('fails.here', () => { throw new Failure('app.error.luck', ['none']); });
    const through = await failed(plain.call('fails.here'));
    assert.deepEqual([through.error, through.args], ['app.error.luck', ['none']]);
  },

  async false_values_take_what_is_retained_away() {
    const [session, client] = [await wampSession(), await mqttClient()];
    const keep = (args, kwargs = {}) => session.publish('kept.value', args, kwargs, { acknowledge: true, retain: true });
    const inbox = new Inbox();
    const watcher = await wampSession();
    for (const nothing of [[], [0], [false], [''], null]) {
      await keep([{ here: true }]);
      await keep(nothing, { header: 'any' });
      await watcher.subscribe('kept.value', (args) => inbox.push(args[0]), { retainedState: true })
        .then((subscription) => watcher.unsubscribe(subscription));
    }
    assert.equal(inbox.come.length, 0);
    const heard = new Promise((resolve) => client.on('message', (topic, payload) => resolve(payload.toString())));
    await client.subscribeAsync('kept/value');
    await keep([{ a: 1 }]);
    assert.equal(await heard, '{"a":1}');
  },
});
