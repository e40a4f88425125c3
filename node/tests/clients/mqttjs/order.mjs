// Order under load: ten thousand messages of one publisher at each QoS, all of them, once, in order.

import assert from 'node:assert/strict';

const COUNT = 10_000;

async function ordered(run, qos) {
  const [subscriber, publisher] = [await run.client(), await run.client()];
  await subscriber.subscribe(run.topic('load'), { qos });
  const sent = [];
  for (let n = 0; n < COUNT; n += 1) {
    sent.push(publisher.publish(run.topic('load'), `${n}`, { qos }));
    // A window as clients have one; mqtt.js itself would take any number.
    if (sent.length % 500 === 0) await Promise.all(sent.splice(0));
  }
  for (let n = 0; n < COUNT; n += 1) assert.equal((await subscriber.next()).text, `${n}`);
  assert.equal(subscriber.messages.size, 0);
}

export const ten_thousand_messages_keep_their_order_at_qos_0 = (run) => ordered(run, 0);
export const ten_thousand_messages_keep_their_order_at_qos_1 = (run) => ordered(run, 1);
export const ten_thousand_messages_keep_their_order_at_qos_2 = (run) => ordered(run, 2);
