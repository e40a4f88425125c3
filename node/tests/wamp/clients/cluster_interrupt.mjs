// A caller that is lost with its node. Arguments: two WebSocket URLs, the process id of the second node.
import assert from 'node:assert/strict';
import { bare, open } from './nodes.mjs';

const [safe, doomed, pid] = process.argv.slice(2);
const [REGISTER, REGISTERED, INVOCATION, INTERRUPT] = [64, 65, 68, 69];
const callee = await bare(safe);
// Whatever node their homes are.
const names = ['app.a', 'app.b', 'app.c', 'app.d', 'app.e', 'app.f'];
for (const name of names) {
  const request = callee.next();
  callee.say(REGISTER, request, {}, name);
  await callee.until(1, (message) => message[0] === REGISTERED && message[1] === request);
}
const caller = await open(doomed);
for (const name of names) caller.session.call(name).catch(() => {});
const invoked = await callee.until(names.length, (message) => message[0] === INVOCATION);
process.kill(Number(pid), 'SIGKILL');
const interrupted = await callee.until(names.length, (message) => message[0] === INTERRUPT);
assert.deepEqual(interrupted.map((message) => message[1]).sort(), invoked.map((message) => message[1]).sort());
process.exit(0);
