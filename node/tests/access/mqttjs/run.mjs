// Runs checks of access with mqtt.js against a node: `run.mjs --url ws=ws://HOST:PORT/ CHECK`.

import { main } from '../../clients/mqttjs/runner.mjs';
import * as cashew from './cashew.mjs';
import * as refusals from './refusals.mjs';
import * as scram from './scram.mjs';

await main({ ...cashew, ...refusals, ...scram });
