// The options of publish and subscribe on three nodes. Arguments: three WebSocket URLs, two MQTT URLs.
import assert from 'node:assert/strict';
import { heap, listen, mqtt, open, until } from './nodes.mjs';

const urls = process.argv.slice(2, 5);
const mqttUrls = process.argv.slice(5, 7);
const [a, b, c] = await Promise.all(urls.map((url) => open(url)));
const ACK = { acknowledge: true };

// Each case: what the publisher asks, and who is to hear it.
const heard = {
  a: await listen(a.session, 'app.t'),
  b: await listen(b.session, 'app.t'),
  c: await listen(c.session, 'app.t'),
};
const cases = [
  [{}, 'bc'],
  [{ exclude_me: true }, 'bc'],
  [{ exclude_me: false }, 'abc'],
  [{ exclude: [b.id] }, 'c'],
  [{ exclude: [b.id], exclude_me: false }, 'ac'],
  [{ eligible: [b.id] }, 'b'],
  [{ eligible: [a.id, c.id], exclude_me: false }, 'ac'],
  [{ eligible: [] }, ''],
  [{ exclude_authid: [c.details.authid] }, 'b'],
  [{ eligible_authid: [c.details.authid] }, 'c'],
  [{ exclude_authrole: ['anonymous'] }, ''],
  [{ eligible_authrole: ['anonymous'] }, 'bc'],
  [{ eligible_authrole: ['nobody'] }, ''],
];
for (const acknowledge of [true, false]) {
  for (const [at, [options]] of cases.entries()) {
    const published = a.session.publish('app.t', [at, acknowledge], {}, { ...options, acknowledge });
    if (acknowledge) await published;
  }
  await a.session.publish('app.t', ['end', acknowledge], {}, { ...ACK, exclude_me: false });
  for (const [who, events] of Object.entries(heard)) {
    await events.until(1, (event) => event.args[0] === 'end' && event.args[1] === acknowledge);
    const wanted = cases.flatMap(([, hearers], at) => (hearers.includes(who) ? [at] : []));
    const came = events.all.filter((event) => event.args[1] === acknowledge && event.args[0] !== 'end');
    assert.deepEqual(came.map((event) => event.args[0]), wanted, `${who}, acknowledge ${acknowledge}`);
  }
}

// Who published is told if it wants to be, and PUBLISHED and EVENT say the same number.
const disclosed = await a.session.publish('app.t', ['who'], {}, { ...ACK, disclose_me: true });
for (const events of [heard.b, heard.c]) {
  const [event] = await events.until(1, (one) => one.args[0] === 'who');
  assert.equal(event.details.publisher, a.id);
  assert.equal(event.details.publication, disclosed.id);
  assert.equal(events.all[0].details.publisher, undefined);
}

// Patterns, and what is retained by another node.
const prefix = await listen(b.session, 'pat.x', { match: 'prefix' });
const wildcard = await listen(c.session, 'pat..z', { match: 'wildcard' });
for (const name of ['pat.xy', 'pat.y.z', 'pat.x1.z', 'pat.end', 'pat.x.end', 'pat.end.z']) {
  await a.session.publish(name, [], {}, ACK);
}
// Topics have no order among each other.
const topics = async (events) => (await events.until(3)).map((event) => event.details.topic).sort();
assert.deepEqual(await topics(prefix), ['pat.x.end', 'pat.x1.z', 'pat.xy']);
assert.deepEqual(await topics(wildcard), ['pat.end.z', 'pat.x1.z', 'pat.y.z']);
await a.session.publish('kept.one', ['v'], {}, { ...ACK, retain: true });
const kept = await listen(c.session, 'kept.one', { get_retained: true });
await kept.until(1);
assert.deepEqual([kept.all[0].args, kept.all[0].details.retained], [['v'], true]);

// A shared subscription of MQTT: a message for one member goes to that one, at whatever node it is picked first.
const members = [];
for (const [at, url] of [mqttUrls[0], mqttUrls[0], mqttUrls[1], mqttUrls[1]].entries()) {
  const clientId = `member-${at}`;
  const client = await mqtt.connectAsync(url, { protocolVersion: 5, clientId });
  const got = heap();
  client.on('message', (topic, payload) => got.add(JSON.parse(payload)));
  await client.subscribeAsync('$share/g/jobs', { qos: at % 2 });
  members.push({ clientId, client, got });
}
const everybody = await listen(b.session, 'jobs');
for (const [from, publisher] of [a, b, c].entries()) {
  for (const [at, { clientId, got }] of members.entries()) {
    const options = { eligible_authid: [clientId, b.details.authid], exclude_me: false };
    for (let n = 0; n < 4; n += 1) {
      await publisher.session.publish('jobs', [[from, at, n]], {}, { ...options, acknowledge: n % 2 === 0 });
    }
    await got.until(4, ([f]) => f === from);
  }
}
await everybody.until(48);
for (const [at, { got }] of members.entries()) {
  assert.equal(got.all.length, 12);
  assert.ok(got.all.every(([, to]) => to === at), JSON.stringify(got.all));
}

// One that nobody of the group may have goes to nobody, and holds nothing up.
await a.session.publish('jobs', [['nobody']], {}, { ...ACK, eligible_authid: ['nobody'] });
await a.session.publish('jobs', [['last']], {}, ACK);
await until(() => members.some(({ got }) => got.all.some(([word]) => word === 'last')));
assert.ok(members.every(({ got }) => got.all.every(([word]) => word !== 'nobody')));
process.exit(0);
