//! What is taken and what is refused, and why.

use std::sync::Arc;

use bytes::Bytes;
use weir_runtime::{Digest, Refused, Runtime, Trap, World};

use crate::guests::{self, core};
use crate::node::{config, start};

async fn refused(bytes: impl Into<Bytes>) -> Refused {
    start().prepare(bytes.into()).await.unwrap_err()
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_core_module_of_the_sdk_becomes_a_component_of_its_world() {
    let runtime = start();
    for (guest, world) in [
        (guests::echo(), World::Command),
        (guests::reducer(), World::Reducer),
        (guests::merging(), World::MergingReducer),
        (guests::middleware(), World::Middleware),
    ] {
        let program = runtime.prepare(guest.clone()).await.unwrap();
        assert_eq!((program.world(), program.wit_version()), (world, "1.0.0"));
        assert_eq!(program.digest(), Digest::of(&guest));
        assert!(!program.is_large());
    }
}

#[tokio::test]
async fn the_same_bytes_are_one_program_also_when_they_come_at_once() {
    let runtime = start();
    let (one, other) = tokio::join!(runtime.prepare(guests::echo()), runtime.prepare(guests::echo()));
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
}

#[tokio::test]
async fn what_is_no_webassembly_is_told_so() {
    for bytes in [&b""[..], b"\0as", b"hello", b"\x7fELF..............", b"{}"] {
        assert_eq!(refused(bytes).await, Refused::NotWasm);
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_anywhere_is_never_taken() {
    let whole = guests::echo();
    let runtime = start();
    for length in (4..whole.len()).step_by(31) {
        let refused = runtime.prepare(whole.slice(..length)).await.unwrap_err();
        // A cut between two sections leaves a file that reads well and is less than it was.
        let is_named =
            matches!(refused, Refused::Truncated | Refused::WrongWorld { .. } | Refused::Compile(_));
        assert!(is_named, "cut at {length}: {refused}");
    }
    assert_eq!(refused(whole.slice(..whole.len() - 1)).await, Refused::Truncated);
    assert_eq!(refused(whole.slice(..6)).await, Refused::Truncated);
}

#[tokio::test]
async fn rubbish_behind_the_magic_costs_nothing() {
    let mut bytes = guests::echo().to_vec();
    for at in (8..bytes.len()).step_by(17) {
        bytes[at] ^= 0xa5;
    }
    refused(bytes).await;
    refused([&b"\0asm\x01\0\0\0"[..], &[0xff; 4096]].concat()).await;
    refused([&b"\0asm\x0d\0\x01\0"[..], &[0x04; 4096]].concat()).await;
}

#[tokio::test]
async fn an_upload_above_the_limit_is_refused_before_it_is_looked_at() {
    let runtime = Runtime::start(&weir_runtime::Config { upload_bytes_max: 100, ..config() }, None).unwrap();
    let refused = runtime.prepare(Bytes::from(vec![0; 101])).await.unwrap_err();
    assert_eq!(refused, Refused::TooLarge { bytes: 101, bytes_max: 100 });
}

#[tokio::test]
async fn a_module_that_names_no_world_is_told_what_it_exports() {
    let module = wat::parse_str(r#"(module (func (export "run")) (func (export "stop")))"#).unwrap();
    assert_eq!(refused(module).await, Refused::WrongWorld { exports: vec!["run".into(), "stop".into()] });
    assert_eq!(refused(component("(component)")).await, Refused::WrongWorld { exports: Vec::new() });
}

#[tokio::test]
async fn another_version_of_the_contract_is_named() {
    let of = |version: &str| {
        let import = format!("weir:handler/log@{version}");
        let text = format!(
            r#"(module (import "{import}" "write" (func (param i32 i32 i32))) (memory (export "memory") 1)
                 (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                 (func (export "handle") (param i32) (result i32) unreachable))"#
        );
        core("command", version, &text)
    };
    for version in ["1.1.0", "2.0.0", "0.9.0"] {
        let refused = refused(of(version)).await;
        assert_eq!(refused, Refused::WrongVersion { has: version.to_owned(), offered: "1.0.0" });
    }
    assert_eq!(start().prepare(of("1.0.3")).await.unwrap().wit_version(), "1.0.3");
}

#[tokio::test]
async fn an_import_that_is_not_offered_is_refused_by_its_name() {
    let env = wat::parse_str(r#"(module (import "env" "open" (func)))"#).unwrap();
    assert_eq!(refused(env).await, Refused::Import { name: "env.open".into() });
    let preview1 = wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#).unwrap();
    assert_eq!(refused(preview1).await, Refused::Import { name: "wasi_snapshot_preview1.fd_write".into() });
    for name in ["wasi:http/types@0.2.0", "wasi:cli/environment@0.3.0", "evil:thing/now@1.0.0"] {
        let text = format!(
            r#"(component (import "{name}" (instance)) (core module $m (func (export "f")))
                 (core instance $i (instantiate $m)) (func $f (canon lift (core func $i "f"))) (export "handle" (func $f)))"#
        );
        assert_eq!(refused(component(&text)).await, Refused::Import { name: name.to_owned() });
    }
}

#[tokio::test]
async fn a_world_gets_only_the_interfaces_that_are_its_own() {
    let text = r#"(component (import "weir:handler/kv@1.0.0" (instance)) (core module $m (func (export "f")))
        (core instance $i (instantiate $m)) (func $f (canon lift (core func $i "f")))
        (export "map" (func $f)) (export "reduce" (func $f)))"#;
    assert_eq!(refused(component(text)).await, Refused::Import { name: "weir:handler/kv@1.0.0".into() });
}

#[tokio::test]
async fn an_export_of_another_type_is_refused() {
    let text = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "handle" (func $f)))"#;
    let refused = refused(component(text)).await;
    assert!(matches!(refused, Refused::WrongType(_)), "{refused}");
}

#[tokio::test]
async fn an_import_of_another_type_is_refused() {
    let text = r#"(component (import "weir:handler/clock@1.0.0" (instance (export "tomorrow" (func (result u64)))))
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "handle" (func $f)))"#;
    let refused = refused(component(text)).await;
    assert!(matches!(&refused, Refused::WrongType(text) if text.contains("clock")), "{refused}");
}

#[tokio::test]
async fn code_that_does_not_validate_is_refused_with_the_place() {
    let refused = refused(guests::command("(i64.const 0)")).await;
    assert!(matches!(&refused, Refused::Compile(text) if text.contains("type mismatch")), "{refused}");
}

#[tokio::test]
async fn a_start_function_that_loops_or_traps_is_met_when_it_is_uploaded() {
    for (body, kind) in [("(loop $ever (br $ever))", Trap::Time), ("unreachable", Trap::Unreachable)] {
        let guest = guests::command_with(&format!("(func $start {body}) (start $start)"), "(i32.const 64)");
        let refused = refused(guest).await;
        assert!(matches!(&refused, Refused::StartFailed { kind: met, .. } if *met == kind), "{refused}");
    }
}
