// A request of MQTT 5 is judged as a call: by the right to call, and to publish where the answer goes.
import assert from 'node:assert/strict';
import { Inbox, foxClient, mqttClient, run, wampSession } from './setup.mjs';

const NOT_AUTHORIZED = 135;
const refused = (promise) => promise.then(() => assert.fail('it was not refused'), (why) => why);

run({
  async requests_are_judged_as_calls() {
    const session = await wampSession();
    for (const name of ['open.call', 'closed.call']) await session.register(name, () => name);
    const client = await mqttClient();
    const inbox = new Inbox();
    client.on('message', (topic, payload) => inbox.push(payload.toString()));
    await client.subscribeAsync('answers/#');
    const ask = (topic, responseTopic) => client.publishAsync(topic, '', { qos: 1, properties: { responseTopic } });
    await ask('open/call', 'answers/a');
    assert.deepEqual(await inbox.next(), ['"open.call"']);
    assert.equal((await refused(ask('closed/call', 'answers/a'))).code, NOT_AUTHORIZED);
    assert.equal((await refused(ask('open/call', 'elsewhere'))).code, NOT_AUTHORIZED);
    await ask('open/call', 'answers/b');
    assert.deepEqual(await inbox.next(), ['"open.call"']);
  },

  async clients_of_hyper_are_judged_as_all_are() {
    const client = await foxClient();
    const denied = [
      () => client.publish('elsewhere', 1, { acknowledge: true }),
      () => client.subscribe('elsewhere.#', () => {}),
      () => client.register('elsewhere', () => 1),
      () => client.callrpc('closed.call', 1),
    ];
    for (const attempt of denied) assert.equal((await refused(attempt())).code, 108, `${attempt}`);
    await client.publish('open.here', 1, { acknowledge: true });
  },
});
