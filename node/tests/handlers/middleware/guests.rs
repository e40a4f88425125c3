//! Middleware written by hand, for what no example does.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const CONTRACT: &str = include_str!("../../../../handlers-sdk/wit/weir-handler.wit");

/// Memory, an allocator that gives nothing back, and hooks that let pass; 64 is the answer.
const REST: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "cabi_post_on-publish") (param i32) (global.set $heap (i32.const 4096)))
  (func (export "on-connect")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 32))
  (func (export "on-authorize")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 32))
  (func (export "on-deliver") (param i32) (result i32) (i32.const 32))
"#;

/// A component whose `on-publish` does this.
fn publishing(body: &str) -> Vec<u8> {
    let text = format!(r#"(module {REST} (func (export "on-publish") (param i32) (result i32) {body}))"#);
    let mut module = wat::parse_str(text).expect("WAT");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("weir-handler.wit", CONTRACT).expect("the contract");
    let world = resolve.select_world(&[package], Some("middleware")).expect("a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("its metadata");
    module
}

/// Never answers.
pub fn looping() -> Vec<u8> {
    publishing("(loop $ever (br $ever)) (unreachable)")
}

/// Sends every message elsewhere, with `moved` as its payload.
pub fn moving(topic: &str) -> Vec<u8> {
    let body = format!(
        r#"(i32.store8 (i32.const 64) (i32.const 1))
           (i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const {}))
           (i32.store (i32.const 76) (i32.const 2048)) (i32.store (i32.const 80) (i32.const 5))
           (i32.const 64)) (data (i32.const 1024) "{topic}") (data (i32.const 2048) "moved""#,
        topic.len()
    );
    publishing(&body)
}
