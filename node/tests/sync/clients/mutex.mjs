// A contender for a lock by autobahn-js. Arguments: WebSocket URL, name. Told by lines what to do, says by lines what came.
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const require = createRequire(path.join(process.env.WEIR_TOOLS, 'wamp', 'package.json'));
const autobahn = require('autobahn');
const [url, name] = process.argv.slice(2);
const KEEP = { acknowledge: true, retain: true };
const LOCK = { ...KEEP, when: null, watch: true, will: null };

const say = (word) => process.stdout.write(`${word}\n`);
const connection = new autobahn.Connection({ url, realm: 'default', max_retries: 0 });
connection.onopen = (session) => {
  const steps = {
    ask: () => session.publish('lock', [name], {}, LOCK).then(() => say('granted')),
    release: () => session.publish('lock', [], {}, KEEP).then(() => say('released')),
  };
  readline.createInterface({ input: process.stdin }).on('line', (step) => {
    steps[step]().catch((error) => say(`refused ${error.error}`));
  });
  say('ready');
};
connection.onclose = () => { say('lost'); process.exit(0); };
connection.open();
