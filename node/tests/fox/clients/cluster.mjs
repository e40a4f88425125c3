// Clients of two nodes of one cluster: requests, calls and events between them.
import assert from 'node:assert/strict';
import { Inbox, brokerThere, foxClient, hyperThere, mqttClient, run, wampSession } from './setup.mjs';

run({
  async a_request_goes_where_its_procedure_is() {
    const session = await wampSession();
    const fox = await foxClient();
    const names = [...Array(8).keys()].map((n) => `far.p${n}`);
    for (const name of names) await session.register(name, (args) => [name, ...args].join(' '));
    await fox.register('far.fox', (value) => [value]);
    const client = await mqttClient({ at: brokerThere });
    const inbox = new Inbox();
    client.on('message', (topic, payload) => inbox.push(payload.toString()));
    await client.subscribeAsync('answers/#');
    const ask = (topic, payload) =>
      client.publishAsync(topic, payload, { qos: 1, properties: { responseTopic: 'answers/a' } });
    for (const name of names) {
      await ask(name.replace('.', '/'), '1');
      assert.deepEqual(await inbox.next(), [JSON.stringify(`${name} 1`)]);
    }
    for (const [asked, answered] of [['7', '[7]'], ['[7]', '[[7]]'], ['{"a":1}', '[{"a":1}]']]) {
      await ask('far/fox', asked);
      assert.deepEqual(await inbox.next(), [answered]);
    }
    // And where there is none, it is a message, behind those before it.
    await client.subscribeAsync('far/nothing');
    await ask('far/nothing', '"message"');
    assert.deepEqual(await inbox.next(), ['"message"']);
  },

  async hyper_clients_of_two_nodes_hear_and_call_each_other() {
    const here = await foxClient();
    const there = await foxClient(undefined, {}, hyperThere);
    const inbox = new Inbox();
    await here.subscribe('far.events.#', (value, options) => inbox.push(value, options.topic));
    await there.publish('far.events.a', [1], { acknowledge: true });
    assert.deepEqual(await inbox.next(), [[1], 'far.events.a']);
    await here.register('far.echo', (value) => value);
    for (const value of [[1], { a: 1 }, [], 'x']) assert.deepEqual(await there.callrpc('far.echo', value), value);
  },
});
