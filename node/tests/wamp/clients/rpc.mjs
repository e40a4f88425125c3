// What autobahn-js sees of calls. Argument: WebSocket URL.
import { createRequire } from 'node:module';
import path from 'node:path';
import assert from 'node:assert/strict';

const require = createRequire(path.join(process.env.WEIR_TOOLS, 'wamp', 'package.json'));
const autobahn = require('autobahn');
const [url] = process.argv.slice(2);

const open = () => new Promise((resolve, reject) => {
  const connection = new autobahn.Connection({ url, realm: 'default', max_retries: 0 });
  connection.onopen = (session) => resolve({ connection, session });
  connection.onclose = (reason) => { reject(new Error(reason)); return true; };
  connection.open();
});
const failure = (promise) => promise.then(() => assert.fail('it has a result'), (error) => error);

const a = await open();
const b = await open();
const { session: callee } = a;
const { session: caller } = b;

// Arguments both ways, and errors with theirs.
await callee.register('app.add', (args, kwargs) => args[0] + args[1] + (kwargs.c ?? 0));
assert.equal(await caller.call('app.add', [1, 2], { c: 3 }), 6);
await callee.register('app.fail', () => { throw new autobahn.Error('app.error.bad', ['why', 1], { k: 2 }); });
const failed = await failure(caller.call('app.fail'));
assert.deepEqual([failed.error, failed.args, failed.kwargs], ['app.error.bad', ['why', 1], { k: 2 }]);
assert.equal((await failure(caller.call('app.none'))).error, 'wamp.error.no_such_procedure');

// Progress comes before the result, in order.
await callee.register('app.long', (args, kwargs, details) => {
  [1, 2, 3].forEach((part) => details.progress([part]));
  return 'done';
});
const parts = [];
const whole = caller.call('app.long', [], {}, { receive_progress: true });
assert.equal(await whole.then((result) => result, undefined, (part) => parts.push(part)), 'done');
assert.deepEqual(parts, [1, 2, 3]);

// Who may register what, and which is called.
assert.equal((await failure(callee.register('app.add', () => 1))).error, 'wamp.error.procedure_already_exists');
assert.equal((await failure(callee.register('wamp.mine', () => 1))).error, 'wamp.error.invalid_uri');
await callee.register('app.pat', (args, kwargs, details) => details.procedure, { match: 'prefix' });
await callee.register('w..z', (args, kwargs, details) => details.procedure, { match: 'wildcard' });
assert.equal(await caller.call('app.pattern.x'), 'app.pattern.x');
assert.equal(await caller.call('w.q.z'), 'w.q.z');
const registration = await callee.register('app.brief', () => 1);
await callee.unregister(registration);
assert.equal((await failure(caller.call('app.brief'))).error, 'wamp.error.no_such_procedure');

// The caller is told, and the turns of shared callees.
await callee.register('app.who', (args, kwargs, details) => details.caller, { disclose_caller: true });
assert.equal(await caller.call('app.who', [], {}, { disclose_me: true }), caller.id);
await callee.register('app.turns', () => 'a', { invoke: 'roundrobin' });
await caller.register('app.turns', () => 'b', { invoke: 'roundrobin' });
const turns = [];
for (let n = 0; n < 4; n += 1) turns.push(await caller.call('app.turns'));
assert.deepEqual(turns, ['a', 'b', 'a', 'b']);

// A flood within the limit is answered to the last call.
const flood = Array.from({ length: 900 }, (_, n) => caller.call('app.add', [n, 1]));
(await Promise.all(flood)).forEach((sum, n) => assert.equal(sum, n + 1));

// What never answers is ended by the caller's timeout, and by the callee's end.
await callee.register('app.never', () => new Promise(() => {}));
assert.equal((await failure(caller.call('app.never', [], {}, { timeout: 50 }))).error, 'wamp.error.timeout');
const left = failure(caller.call('app.never'));
a.connection.close();
assert.equal((await left).error, 'wamp.error.canceled');
process.exit(0);
