//! fox-wamp's clients against the real binary: HyperNetClient and the demo programs of its package as they are, beside
//! autobahn-js and mqtt.js.

mod crashes;
mod demos;
mod scene;
mod scripts;
