// Runs checks of mqtt.js and ws against a node: `run.mjs --url tcp=mqtt://HOST:PORT .. CHECK ..`, or `all`.

import { main } from './runner.mjs';
import * as aliases from './aliases.mjs';
import * as handmade from './handmade.mjs';
import * as messages from './messages.mjs';
import * as order from './order.mjs';
import * as sessions from './sessions.mjs';
import * as subscriptions from './subscriptions.mjs';
import * as websocket from './websocket.mjs';

await main({ ...messages, ...order, ...aliases, ...subscriptions, ...sessions, ...handmade, ...websocket });
