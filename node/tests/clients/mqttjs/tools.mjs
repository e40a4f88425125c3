// The packages of `target/tools/node`: mqtt.js, its codec, and ws.

import { createRequire } from 'node:module';

const require = createRequire(`${process.env.WEIR_TOOLS}/node/`);

export const mqtt = require('mqtt');
export const packets = require('mqtt-packet');
export const WebSocket = require('ws');
