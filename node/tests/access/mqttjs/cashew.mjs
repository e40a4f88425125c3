// The scenarios of cashew-mqtt: devices send commands, handlers answer the device that asked.

import assert from 'node:assert/strict';

import { device, handler, shows, token } from './token.mjs';

const DEVICES = 40;

const users = (from, count = DEVICES) => Array.from({ length: count }, (_, n) => from + n);

/** Answers each message to `command`: `answer` makes `[event, payload]` of who asked and what was sent. */
async function serve(run, name, command, answer) {
  const service = await handler(run, name);
  assert.deepEqual(await service.subscribe(command), [0]);
  service.mqtt.on('message', (topic, payload) => {
    const asked = JSON.parse(payload);
    const userId = topic.includes('/') ? topic.split('/')[0] : asked.user_id;
    const [event, reply] = answer(asked, userId);
    service.publish(`${userId}/${event}`, JSON.stringify(reply));
  });
  return service;
}

/** A device that listens to an event of its own. */
async function listening(run, userId, event) {
  const client = await device(run, userId);
  assert.deepEqual(await client.subscribe(`${userId}/${event}`), [0]);
  return client;
}

const json = async (client) => JSON.parse((await client.next()).text);

/** Nothing has come that nobody asked for: what a device sends itself comes behind whatever was on its way. */
async function hears_nothing(client, userId, event) {
  await client.publish(`${userId}/${event}`, '"the end"');
  assert.deepEqual(await client.until('"the end"'), []);
}

/** "Add a contact": the device that added one hears of it, and nobody else. */
export async function a_contact_is_added(run) {
  await serve(run, 'contacts', 'add_contact', ({ contact }) => ['contact_added', { added: contact }]);
  const other = await listening(run, 12345, 'contact_added');
  const contact = { name: 'Yvonne', phone: '+7 999 000 00 00' };
  const adding = await listening(run, 68946, 'contact_added');
  await adding.publish('add_contact', JSON.stringify({ user_id: 68946, contact }));
  const message = await adding.next();
  assert.equal(message.topic, '68946/contact_added');
  assert.deepEqual(JSON.parse(message.text), { added: contact });
  await hears_nothing(other, 12345, 'contact_added');
}

/** "Get list of contacts": what many devices add, each gets back as a list of its own. */
export async function a_list_of_contacts_is_its_owner_s(run) {
  const contacts = new Map();
  await serve(run, 'contacts', 'add_contact', ({ name }, userId) => {
    contacts.set(userId, [...(contacts.get(userId) ?? []), name]);
    return ['contact_added', { name }];
  });
  await serve(run, 'contact-list', 'get_contact_list', (_, userId) => ['contact_list', contacts.get(userId) ?? []]);
  await Promise.all(
    users(68946).map(async (userId) => {
      const client = await listening(run, userId, 'contact_list');
      await client.subscribe(`${userId}/contact_added`);
      const names = [`first of ${userId}`, `second of ${userId}`];
      for (const name of names) {
        await client.publish('add_contact', JSON.stringify({ user_id: userId, name }));
        assert.deepEqual(await json(client), { name });
      }
      await client.publish('get_contact_list', JSON.stringify({ user_id: userId }));
      assert.deepEqual(await json(client), names);
      await hears_nothing(client, userId, 'contact_list');
    }),
  );
}

/** The first level of a command may say who asks: the handler listens to `+/ping`. */
export async function every_ping_finds_its_pong(run) {
  await serve(run, 'ping-pong', '+/ping', ({ count }, userId) => ['pong', { count, userId }]);
  await Promise.all(
    users(68946).map(async (userId) => {
      const client = await listening(run, userId, 'pong');
      for (let count = 0; count < 10; count += 1) {
        await client.publish(`${userId}/ping`, JSON.stringify({ count }));
        assert.deepEqual(await json(client), { count, userId: `${userId}` });
      }
      await hears_nothing(client, userId, 'pong');
    }),
  );
}

/** The apples demo: all devices ask at once, each for its own. */
export async function everybody_gets_the_apples_asked_for(run) {
  await serve(run, 'apples', 'get_apples', ({ count }) => ['apples', { apples: Array(count).fill('apple') }]);
  const ids = users(68946);
  const clients = await Promise.all(ids.map((userId) => listening(run, userId, 'apples')));
  const ask = (client, n) =>
    client.publish('get_apples', JSON.stringify({ user_id: ids[n], count: 1 + (n % 7) }));
  await Promise.all(clients.map(ask));
  const got = await Promise.all(clients.map(json));
  got.forEach(({ apples }, n) => assert.equal(apples.length, 1 + (n % 7)));
  await Promise.all(clients.map((client, n) => hears_nothing(client, ids[n], 'apples')));
}

/** A token may be of a handler and of a user at once. */
export async function a_handler_may_be_a_user_too(run) {
  const both = await run.client('both', shows(token({ user_id: 68946, handler: { name: 'both', ip: '::1' } })));
  assert.deepEqual(await both.subscribe(['#', '12345/contact_list']), [0, 0]);
  const other = await device(run, 12345);
  await other.publish('add_contact', '{}');
  assert.equal((await both.next()).topic, 'add_contact');
}
