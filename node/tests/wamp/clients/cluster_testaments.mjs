// Testaments when a node is killed. Arguments: two WebSocket URLs, the process id of the first node, the URL of MQTT at the
// second.
import assert from 'node:assert/strict';
import { failure, listen, mqtt, heap, open } from './nodes.mjs';

const [doomed, safe, pid, mqttUrl] = process.argv.slice(2);
const heir = await open(safe);
const heard = await listen(heir.session, 'left.', { match: 'prefix' });
const leaves = await listen(heir.session, 'wamp.session.on_leave');
const add = (one, topic, args, kwargs) => one.session.call('wamp.session.add_testament', [topic, args, {}], kwargs);

// Taken back, by scope.
const b = await open(safe);
await add(b, 'left.flushed', [1], {});
await add(b, 'left.detached', ['d'], { scope: 'detached' });
assert.equal(await b.session.call('wamp.session.flush_testaments'), 1);
assert.equal((await failure(add(b, 'left.wrong', [], { scope: 'never' }))).error, 'wamp.error.invalid_argument');
assert.equal((await failure(add(b, 'wamp.session.on_leave', [], {}))).error, 'wamp.error.invalid_uri');
await add(b, 'left.own', [{ x: 1 }], { publish_options: { disclose_me: true } });
b.connection.close();
await heard.until(2);
assert.deepEqual(heard.all.map((event) => event.details.topic).sort(), ['left.detached', 'left.own']);
assert.equal(heard.all.find((event) => event.details.topic === 'left.own').details.publisher, b.id);

// Those of sessions whose node is killed: once each, to WAMP and to a kept session of MQTT.
const client = await mqtt.connectAsync(mqttUrl, { protocolVersion: 5 });
const got = heap();
client.on('message', (topic, payload) => got.add(`${topic} ${payload}`));
await client.subscribeAsync('left/#', { qos: 1 });
const lost = await Promise.all([1, 2, 3].map(() => open(doomed)));
for (const [at, one] of lost.entries()) {
  await add(one, `left.lost.${at}`, [at], { publish_options: { acknowledge: true } });
  await add(one, 'left.kept', [at], { publish_options: { retain: true, exclude: [heir.id] } });
}
process.kill(Number(pid), 'SIGKILL');
for (const at of lost.keys()) {
  await heard.until(1, (event) => event.details.topic === `left.lost.${at}`);
  await got.until(1, (line) => line === `left/lost/${at} ${at}`);
}
await got.until(3, (line) => line.startsWith('left/kept '));
for (const { id } of lost) await leaves.until(1, (event) => event.args[0] === id);
// Whatever comes twice comes before what is published after it.
await heir.session.publish('left.end', [], {}, { acknowledge: true, exclude_me: false });
await heard.until(1, (event) => event.details.topic === 'left.end');
assert.equal(heard.all.length, 2 + 3 + 1, JSON.stringify(heard.all));
assert.equal(got.all.filter((line) => line.startsWith('left/lost/')).length, 3);
assert.equal(leaves.all.filter((event) => lost.some(({ id }) => id === event.args[0])).length, 3);
process.exit(0);
