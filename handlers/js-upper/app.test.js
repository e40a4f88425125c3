// What the handler promises; needs no WASM. `node --test`

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { handle } from './app.js';

const message = (topic, text, more) => ({ topic, payload: new TextEncoder().encode(text), attempt: 1, ...more });

const said = ({ topic, payload }) => [topic, new TextDecoder().decode(payload)];

test('a text is said louder', () => {
  assert.deepEqual(handle(message('shop/7/say', 'grüß Gott')).map(said), [['shop/7/say/loud', 'GRÜSS GOTT']]);
});

test('an answer goes where it is wanted', () => {
  const correlationData = new Uint8Array([9]);
  const [event] = handle(message('say', 'hi', { responseTopic: 'answers/3', correlationData }));
  assert.deepEqual(said(event), ['answers/3', 'HI']);
  assert.equal(event.correlationData, correlationData);
});

test('what is no text is rejected', () => {
  const payload = new Uint8Array([0xff]);
  assert.throws(() => handle({ topic: 'say', payload, attempt: 1 }), { tag: 'reject' });
});
