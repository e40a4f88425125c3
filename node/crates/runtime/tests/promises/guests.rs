//! Guests written by hand: core modules that say which world they were made for, as the SDK's do.

use bytes::Bytes;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const CONTRACT: &str = include_str!("../../../../../handlers-sdk/wit/weir-handler.wit");

/// Imports, memory and an allocator that is emptied after each call. 64: the answer; 128: its event; 1024: texts.
const BASE: &str = r#"
  (import "weir:handler/log@1.0.0" "write" (func $log (param i32 i32 i32)))
  (import "weir:handler/config@1.0.0" "get" (func $config (param i32 i32 i32)))
  (import "weir:handler/clock@1.0.0" "now" (func $now (result i64)))
  (import "weir:handler/random@1.0.0" "bytes" (func $random (param i32 i32)))
"#;
const KV: &str = r#"
  (import "weir:handler/kv@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "weir:handler/kv@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "weir:handler/kv@1.0.0" "delete" (func $delete (param i32 i32 i32)))
"#;
const MEMORY: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $calls (mut i32) (i32.const 0))
  (func $alloc (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $bytes)))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
      (br $more)))
    (local.get $at))
  (func $reset (global.set $heap (i32.const 65536)))
  (data (i32.const 1024) "outnamebad")
"#;

/// A core module of `world`, with the contract in `version`.
pub fn core(world: &str, version: &str, text: &str) -> Bytes {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let package =
        resolve.push_str("weir-handler.wit", &CONTRACT.replace("@1.0.0", &format!("@{version}"))).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module.into()
}

/// A guest of world `command`; `body` gets the message's place as `$m` and leaves the answer's place.
pub fn command(body: &str) -> Bytes {
    command_with("", body)
}

/// The same with more definitions beside it.
pub fn command_with(more: &str, body: &str) -> Bytes {
    core(
        "command",
        "1.0.0",
        &format!(
            r#"(module {BASE} {KV} {MEMORY} {more}
              (func (export "handle") (param $m i32) (result i32) (local $i i32) (local $at i32)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1))) {body})
              (func (export "cabi_post_handle") (param i32) (call $reset)))"#
        ),
    )
}

/// Leaves one event to `out` with these bytes.
pub fn event(at: &str, bytes: &str) -> String {
    format!(
        r#"(i32.store8 (i32.const 64) (i32.const 0))
           (i32.store (i32.const 128) (i32.const 1024)) (i32.store (i32.const 132) (i32.const 3))
           (i32.store (i32.const 136) {at}) (i32.store (i32.const 140) {bytes})
           (i32.store (i32.const 72) (i32.const 128)) (i32.store (i32.const 76) (i32.const 1))
           (i32.const 64)"#
    )
}

/// Where the message's payload is, and its bytes.
pub const PAYLOAD: [&str; 2] = ["(i32.load offset=8 (local.get $m))", "(i32.load offset=12 (local.get $m))"];

/// Publishes what it gets to `out`.
pub fn echo() -> Bytes {
    command(&event(PAYLOAD[0], PAYLOAD[1]))
}

/// Says which call of its instance it is: 4 bytes, little-endian.
pub fn counting() -> Bytes {
    command(&format!(
        "(i32.store (i32.const 512) (global.get $calls)) {}",
        event("(i32.const 512)", "(i32.const 4)")
    ))
}

/// Does as the payload's first byte says: `l` loops, `r` calls itself, `u` is unreachable, `m` takes all memory, and
/// anything else it publishes.
pub fn moody() -> Bytes {
    let is = |letter: char| format!("(i32.eq (i32.load8_u {}) (i32.const {}))", PAYLOAD[0], letter as u32);
    command_with(
        "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))",
        &format!(
            r#"(if {} (then (loop $ever (br $ever))))
               (if {} (then (drop (call $deep (i32.const 0)))))
               (if {} (then unreachable))
               (if {} (then (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable))
               {}"#,
            is('l'),
            is('r'),
            is('u'),
            is('m'),
            event(PAYLOAD[0], PAYLOAD[1])
        ),
    )
}

/// Leaves a failure: `bad` as the reason.
pub const REJECT: &str = r#"
  (i32.store8 (i32.const 64) (i32.const 1)) (i32.store8 (i32.const 72) (i32.const 0))
  (i32.store (i32.const 80) (i32.const 1031)) (i32.store (i32.const 84) (i32.const 3)) (i32.const 64)"#;

/// Does with the value `name` what the payload's first byte says (`s` sets it to the payload, `d` deletes it, `x` sets
/// it and then rejects), reads it, and publishes what it has read: the value, `name` for none, or a byte for an error.
pub fn keeping() -> Bytes {
    let is = |letter: char| format!("(i32.eq (i32.load8_u {}) (i32.const {}))", PAYLOAD[0], letter as u32);
    let [at, bytes] = PAYLOAD;
    let set = format!("(call $set (i32.const 1027) (i32.const 4) {at} {bytes} (i32.const 256))");
    let got = event("(local.get $at)", "(local.get $i)");
    command(&format!(
        r#"(if {} (then {set}))
           (if {} (then (call $delete (i32.const 1027) (i32.const 4) (i32.const 256))))
           (if {} (then {set} {REJECT} return))
           (call $get (i32.const 1027) (i32.const 4) (i32.const 256))
           (local.set $at (i32.const 1027)) (local.set $i (i32.const 4))
           (if (i32.load8_u (i32.const 260)) (then
             (local.set $at (i32.load (i32.const 264))) (local.set $i (i32.load (i32.const 268)))))
           (if (i32.load8_u (i32.const 256)) (then (local.set $at (i32.const 260)) (local.set $i (i32.const 1))))
           {got}"#,
        is('s'),
        is('d'),
        is('x')
    ))
}

/// A guest of world `reducer`: `map` contributes the payload to the key `out`, `reduce` says how many changes there
/// were, and appends the old state.
pub fn reducer() -> Bytes {
    core("reducer", "1.0.0", &format!("(module {} {} {})", BASE, MEMORY, reducing()))
}

/// The same with `merge`, which says the bytes of the first state.
pub fn merging() -> Bytes {
    let merge = r#"
      (func (export "merge") (param i32 i32 i32 i32) (result i32)
        (i32.store (i32.const 72) (i32.load (local.get 2))) (i32.store (i32.const 76) (i32.load offset=4 (local.get 2)))
        (i32.const 64))
      (func (export "cabi_post_merge") (param i32) (call $reset))"#;
    core("merging-reducer", "1.0.0", &format!("(module {} {} {} {merge})", BASE, MEMORY, reducing()))
}

fn reducing() -> String {
    format!(
        r#"(func (export "map") (param $m i32) (result i32)
             (i32.store (i32.const 128) (i32.const 1024)) (i32.store (i32.const 132) (i32.const 3))
             (i32.store (i32.const 136) {}) (i32.store (i32.const 140) {})
             (i32.store (i32.const 72) (i32.const 128)) (i32.store (i32.const 76) (i32.const 1))
             (i32.const 64))
           (func (export "cabi_post_map") (param i32) (call $reset))
           (func (export "reduce") (param $key i32) (param $key_bytes i32) (param $has i32) (param $state i32) (param $bytes i32)
               (param $changes i32) (param $count i32) (result i32)
             (i32.store8 (i32.const 512) (local.get $count))
             (memory.copy (i32.const 513) (local.get $state) (local.get $bytes))
             (i32.store8 (i32.const 72) (i32.ne (local.get $count) (i32.const 0)))
             (i32.store (i32.const 76) (i32.const 512))
             (i32.store (i32.const 80) (i32.add (i32.const 1) (local.get $bytes)))
             (i32.const 64))
           (func (export "cabi_post_reduce") (param i32) (call $reset))"#,
        PAYLOAD[0], PAYLOAD[1]
    )
}

/// A guest of world `middleware`: lets pass, but with the client id `bad` refuses, with `loop` loops, and with `new`
/// changes the payload of messages to `out`.
pub fn middleware() -> Bytes {
    let letter =
        |at: &str, letter: char| format!("(i32.eq (i32.load8_u {at}) (i32.const {}))", letter as u32);
    let verdict = format!(
        r#"(i32.store8 (i32.const 64) (i32.const 0))
           (if {} (then (i32.store8 (i32.const 64) (i32.const 1))
             (i32.store (i32.const 68) (i32.const 1031)) (i32.store (i32.const 72) (i32.const 3))))
           (if {} (then (loop $ever (br $ever))))
           (i32.const 64)"#,
        letter("(local.get 0)", 'b'),
        letter("(local.get 0)", 'l'),
    );
    let passage = format!(
        r#"(i32.store8 (i32.const 64) (i32.const 0))
           (if {} (then (i32.store8 (i32.const 64) (i32.const 2))
             (i32.store (i32.const 68) (i32.const 1031)) (i32.store (i32.const 72) (i32.const 3))))
           (if {} (then (loop $ever (br $ever))))
           (if {} (then (i32.store8 (i32.const 64) (i32.const 1))
             (memory.copy (i32.const 68) (i32.add (local.get 0) (i32.const 44)) (i32.const 40))
             (i32.store (i32.const 76) (i32.const 1024)) (i32.store (i32.const 80) (i32.const 3))))
           (i32.const 64)"#,
        letter("(i32.load (local.get 0))", 'b'),
        letter("(i32.load (local.get 0))", 'l'),
        letter("(i32.load (local.get 0))", 'n'),
    );
    let eleven = "i32 ".repeat(11);
    core(
        "middleware",
        "1.0.0",
        &format!(
            r#"(module {BASE} {MEMORY}
              (func (export "on-connect") (param {eleven}) (result i32) {verdict})
              (func (export "cabi_post_on-connect") (param i32) (call $reset))
              (func (export "on-authorize") (param {eleven} i32 i32 i32) (result i32) {verdict})
              (func (export "cabi_post_on-authorize") (param i32) (call $reset))
              (func (export "on-publish") (param i32) (result i32) {passage})
              (func (export "cabi_post_on-publish") (param i32) (call $reset))
              (func (export "on-deliver") (param i32) (result i32) {passage})
              (func (export "cabi_post_on-deliver") (param i32) (call $reset)))"#
        ),
    )
}
