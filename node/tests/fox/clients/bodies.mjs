// What a body is to each protocol, whoever says it: HyperNetClient, autobahn-js and mqtt.js on one topic.
import assert from 'node:assert/strict';
import { Inbox, foxClient, mqttClient, run, wampSession } from './setup.mjs';

/// One listener of each protocol at one topic.
async function listeners() {
  const inbox = { hyper: new Inbox(), wamp: new Inbox(), mqtt: new Inbox() };
  const fox = await foxClient();
  await fox.subscribe('body.all', (value, options) => inbox.hyper.push(value, options.headers));
  const session = await wampSession();
  await session.subscribe('body.all', (args, kwargs) => inbox.wamp.push(args, kwargs));
  const client = await mqttClient();
  client.on('message', (topic, payload, packet) => inbox.mqtt.push(payload.toString(), packet.properties?.userProperties));
  await client.subscribeAsync('body/all');
  return {
    inbox,
    async heard() {
      const [[value, headers], [args, kwargs], [text, user]] =
        await Promise.all([inbox.hyper.next(), inbox.wamp.next(), inbox.mqtt.next()]);
      return { value, args: args ?? [], text, headers, kwargs: { ...kwargs }, user: { ...user } };
    },
  };
}

const bodies = async (publish, table) => {
  const { heard } = await listeners();
  for (const [said, value, args, text] of table) {
    await publish(said);
    const { value: v, args: a, text: t } = await heard();
    assert.deepEqual({ value: v, args: a, text: t }, { value, args, text }, JSON.stringify(said));
  }
};

run({
  async of_hyper() {
    const fox = await foxClient();
    await bodies((value) => fox.publish('body.all', value, { acknowledge: true }), [
      [{ a: 1 }, { a: 1 }, [{ a: 1 }], '{"a":1}'],
      [7, 7, [7], '7'],
      ['text', 'text', ['text'], '"text"'],
      [[1, 2], [1, 2], [1, 2], '[1,2]'],
      [[1], [1], [1], '[1]'],
      [[], [], [], '[]'],
      [null, null, [], ''],
    ]);
  },

  async of_wamp() {
    const session = await wampSession();
    await bodies((args) => session.publish('body.all', args, {}, { acknowledge: true }), [
      [[{ a: 1 }], { a: 1 }, [{ a: 1 }], '{"a":1}'],
      [[7], 7, [7], '7'],
      [[1, 2], [1, 2], [1, 2], '[1,2]'],
      [[], null, [], '[]'],
      [[[1]], [1], [[1]], '[1]'],
    ]);
  },

  async of_mqtt() {
    const client = await mqttClient();
    await bodies((payload) => client.publishAsync('body/all', payload, { qos: 1 }), [
      ['{"a":1}', { a: 1 }, [{ a: 1 }], '{"a":1}'],
      ['7', 7, [7], '7'],
      ['[1,2]', [1, 2], [1, 2], '[1,2]'],
      ['[1]', [1], [1], '[1]'],
      ['', null, [], ''],
      // What stopped the original: no JSON.
      ['not json', 'not json', ['not json'], 'not json'],
      ['{"cut', '{"cut', ['{"cut'], '{"cut'],
    ]);
  },

  async bytes_that_are_no_text_reach_everybody() {
    const { inbox } = await listeners();
    const client = await mqttClient();
    await client.publishAsync('body/all', Buffer.from([0xff, 0x00, 0xfe]), { qos: 1 });
    assert.deepEqual([...(await inbox.hyper.next())[0]], [0xff, 0x00, 0xfe]);
    await inbox.wamp.next();
    await inbox.mqtt.next();
  },

  async headers_are_named_arguments_and_user_properties() {
    const { heard } = await listeners();
    const [fox, session] = [await foxClient(), await wampSession()];
    await fox.publish('body.all', 1, { acknowledge: true, headers: { h: 'x', n: [1] } });
    let said = await heard();
    assert.deepEqual([said.headers, said.kwargs], [{ h: 'x', n: [1] }, { h: 'x', n: [1] }]);
    assert.deepEqual(JSON.parse(said.user['wamp-kwargs']), { h: 'x', n: [1] });
    await session.publish('body.all', [1], { k: 1 }, { acknowledge: true });
    said = await heard();
    assert.deepEqual([said.headers, said.kwargs], [{ k: 1 }, { k: 1 }]);
  },

  async calls_between_hyper_and_wamp() {
    const [fox, session] = [await foxClient(), await wampSession()];
    await session.register('calls.wamp', (args) => args.length);
    await session.register('calls.list', () => [1, 2]);
    await fox.register('calls.hyper', (value) => value);
    assert.equal(await fox.callrpc('calls.wamp', [1, 2, 3]), 3);
    assert.equal(await fox.callrpc('calls.wamp', { a: 1 }), 1);
    assert.equal(await fox.callrpc('calls.wamp', null), 0);
    assert.deepEqual(await fox.callrpc('calls.list', null), [1, 2]);
    assert.deepEqual(await session.call('calls.hyper', [{ a: 1 }]), { a: 1 });
    assert.deepEqual((await session.call('calls.hyper', [1, 2])).args, [1, 2]);
    // Parts of results are for those who ask for them.
    await session.register('calls.parts', (args, kwargs, details) => (details.progress ? 'parts' : 'whole'));
    assert.equal(await fox.callrpc('calls.parts', null), 'whole');
    assert.equal(await fox.callrpc('calls.parts', null, { receive_progress: true, progress: () => {} }), 'parts');
    await fox.register('calls.fails', () => { throw new Error('no such luck'); });
    const why = await session.call('calls.fails').catch((error) => error);
    assert.deepEqual([why.error, why.args], ['wamp.error.callee_failure', ['no such luck']]);
    const missing = await session.call('calls.missing').catch((error) => error);
    assert.deepEqual(
      [missing.error, missing.args],
      ['wamp.error.no_such_procedure', ['no callee registered for procedure <calls.missing>']],
    );
  },

  async locks_between_all_three() {
    const [fox, session] = [await foxClient(), await wampSession()];
    const lock = { acknowledge: true, retain: true, when: null, will: null };
    await session.publish('lock.all', [{ by: 'wamp' }], { any: 1 }, lock);
    const refused = await fox.publish('lock.all', { by: 'hyper' }, { ...lock }).catch((why) => why);
    assert.equal(refused.code, 110);
    const waits = fox.publish('lock.all', { by: 'hyper' }, { ...lock, watch: true });
    // As the demo gives it back: no arguments, but named ones.
    await session.publish('lock.all', null, { header: 'any' }, { acknowledge: true, retain: true });
    await waits;
    const client = await mqttClient();
    const heard = new Promise((resolve) => client.on('message', (topic, payload) => resolve(payload.toString())));
    await client.subscribeAsync('lock/all');
    assert.equal(await heard, '{"by":"hyper"}');
  },
});
