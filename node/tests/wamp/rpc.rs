//! Calls, as autobahn-js sees them.

use crate::script;

#[test]
fn autobahn_js_calls_registers_and_is_told_why_not() {
    script::run("rpc.mjs", &script::node());
}
