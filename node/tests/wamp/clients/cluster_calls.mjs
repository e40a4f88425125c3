// Calls from node to node. Arguments: three WebSocket URLs.
import assert from 'node:assert/strict';
import { bare, failure, open } from './nodes.mjs';

const urls = process.argv.slice(2, 5);
const [a, b, c] = await Promise.all(urls.map((url) => open(url)));
const callee = await bare(urls[1], { progressive_call_invocations: true });
const caller = await bare(urls[2], { progressive_call_invocations: true });
const is = (...start) => (message) => start.every((item, at) => message[at] === item);
const [CALL, CANCEL, RESULT, REGISTER, REGISTERED, INVOCATION, INTERRUPT, YIELD, ERROR] = [48, 49, 50, 64, 65, 68, 69, 70, 8];
const register = async (uri, options = {}) => {
  const request = callee.next();
  callee.say(REGISTER, request, options, uri);
  return (await callee.until(1, is(REGISTERED, request)))[0][2];
};
let registration;
let served = 0;
const invoked = async () => { served += 1; return (await callee.until(served, is(INVOCATION)))[served - 1]; };
const call = (uri, options, args = []) => {
  const request = caller.next();
  caller.say(CALL, request, options, uri, args);
  return request;
};
const answer = async (request) => (await caller.until(1, (m) => (m[0] === RESULT && m[1] === request)
  || (m[0] === ERROR && m[2] === request)))[0];

// Results in parts, in order, from a node to another.
await a.session.register('app.parts', (args, kwargs, details) => {
  for (let part = 0; part < args[0]; part += 1) details.progress([part]);
  return 'done';
});
for (const from of [a, b, c]) {
  const parts = [];
  const whole = from.session.call('app.parts', [20], {}, { receive_progress: true });
  assert.equal(await whole.then((result) => result, undefined, (part) => parts.push(part)), 'done');
  assert.deepEqual(parts, [...Array(20).keys()]);
}

// A call in parts: one invocation, whose arguments follow.
registration = await register('app.sum');
const sum = caller.next();
for (const [at, number] of [1, 2, 3, 4].entries()) caller.say(CALL, sum, { progress: at < 3 }, 'app.sum', [number]);
let total = 0;
let part;
do {
  part = await invoked();
  assert.equal(part[2], registration);
  total += part[4][0];
} while (part[3].progress);
callee.say(YIELD, part[1], {}, [total]);
assert.deepEqual((await answer(sum)).slice(3), [[10]]);

// Canceled in each of its ways.
await register('app.slow');
for (const mode of ['skip', 'kill', 'killnowait']) {
  const request = call('app.slow', {});
  const [, invocation] = await invoked();
  caller.say(CANCEL, request, { mode });
  if (mode === 'kill') {
    assert.equal((await callee.until(1, is(INTERRUPT, invocation)))[0][2].mode, 'kill');
    callee.say(ERROR, INVOCATION, invocation, {}, 'app.error.stopped', ['why']);
    const ended = await answer(request);
    assert.deepEqual([ended[4], ended[5]], ['app.error.stopped', ['why']]);
    continue;
  }
  assert.equal((await answer(request))[4], 'wamp.error.canceled');
  if (mode === 'killnowait') await callee.until(1, is(INTERRUPT, invocation));
  else assert.equal(callee.all.filter(is(INTERRUPT, invocation)).length, 0);
  callee.say(YIELD, invocation, {}, ['late']);
}
const timed = call('app.slow', { timeout: 100 });
const [, late] = await invoked();
assert.equal((await answer(timed))[4], 'wamp.error.timeout');
await callee.until(1, is(INTERRUPT, late));

// One at a time, whoever calls from wherever.
let running = 0;
let most = 0;
const one = async () => {
  running += 1;
  most = Math.max(most, running);
  await new Promise((done) => setTimeout(done, 5));
  running -= 1;
  return 1;
};
await a.session.register('app.one', one, { concurrency: 1 });
await Promise.all([a, b, c].flatMap((from) => Array.from({ length: 10 }, () => from.session.call('app.one'))));
assert.equal(most, 1);

// Turns, and who has least to do, over callees of three nodes.
const others = [a, b, c];
for (const [at, one] of others.entries()) await one.session.register('app.turn', () => at, { invoke: 'roundrobin' });
const turns = [];
for (let n = 0; n < 9; n += 1) turns.push(await others[n % 3].session.call('app.turn'));
assert.deepEqual(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
const busy = [];
for (const [at, one] of others.entries()) {
  await one.session.register('app.load', () => new Promise((done) => { busy.push([at, done]); }), { invoke: 'load' });
}
const loaded = Array.from({ length: 6 }, () => b.session.call('app.load'));
while (busy.length < 6) await new Promise((done) => setTimeout(done, 5));
assert.deepEqual([0, 1, 2].map((at) => busy.filter(([who]) => who === at).length), [2, 2, 2]);
busy.forEach(([at, done]) => done(at));
await Promise.all(loaded);

// Somebody else takes a procedure, from another node.
await a.session.register('app.mine', () => 'a');
assert.equal((await failure(b.session.register('app.mine', () => 'b'))).error, 'wamp.error.procedure_already_exists');
await c.session.register('app.mine', () => 'c', { force_reregister: true });
assert.equal(await b.session.call('app.mine'), 'c');
process.exit(0);
