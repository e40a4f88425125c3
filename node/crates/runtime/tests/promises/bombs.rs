//! Uploads that are made to keep a compiler busy: refused before it is asked.

use bytes::Bytes;
use weir_runtime::{Refused, Runtime};

use crate::node::{config, start};

async fn too_many(bytes: Vec<u8>) -> &'static str {
    match start().prepare(Bytes::from(bytes)).await.unwrap_err() {
        Refused::TooMany { what, count, count_max } => {
            assert!(count > count_max);
            what
        }
        other => panic!("{other}"),
    }
}

fn number(mut value: usize, into: &mut Vec<u8>) {
    while value > 0x7f {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn section(id: u8, count: usize, items: &[u8], into: &mut Vec<u8>) {
    let mut body = Vec::new();
    number(count, &mut body);
    body.extend_from_slice(items);
    into.push(id);
    number(body.len(), into);
    into.extend_from_slice(&body);
}

/// A core module with one type, `functions` of it with this body each, and so many exports of the first.
fn module(functions: usize, body: &[u8], exports: usize) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    section(1, 1, &[0x60, 0, 0], &mut bytes);
    section(3, functions, &vec![0; functions], &mut bytes);
    let mut items = Vec::new();
    for export in 0..exports {
        let name = format!("{export:x}");
        number(name.len(), &mut items);
        items.extend_from_slice(name.as_bytes());
        items.extend_from_slice(&[0, 0]);
    }
    section(7, exports, &items, &mut bytes);
    let mut one = Vec::new();
    number(body.len(), &mut one);
    one.extend_from_slice(body);
    section(10, functions, &one.repeat(functions), &mut bytes);
    bytes
}

const EMPTY: &[u8] = &[0, 0x0b];

#[tokio::test]
async fn a_million_exports_are_too_many() {
    assert_eq!(too_many(module(1, EMPTY, 1_000_000)).await, "exports");
}

#[tokio::test]
async fn a_million_functions_are_too_many() {
    assert_eq!(too_many(module(1_000_000, EMPTY, 0)).await, "functions");
}

#[tokio::test]
async fn a_count_that_the_file_does_not_have_is_no_reason_to_make_room_for_it() {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&[3, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(too_many(bytes).await, "functions");
}

#[tokio::test]
async fn one_huge_function_is_refused() {
    let body = [&[0][..], &vec![0x01; 2 << 20], &[0x0b]].concat();
    assert_eq!(too_many(module(1, &body, 0)).await, "bytes in one function");
}

#[tokio::test]
async fn small_functions_with_huge_numbers_of_local_variables_are_refused() {
    // One group of 50,000 locals of i32.
    let mut body = vec![1];
    number(50_000, &mut body);
    body.extend_from_slice(&[0x7f, 0x0b]);
    assert_eq!(too_many(module(1_000, &body, 0)).await, "local variables");
}

#[tokio::test]
async fn components_that_instantiate_one_another_do_not_multiply() {
    let mut text = String::from("(component $c0)");
    for level in 1..=20 {
        let below = level - 1;
        let twice = "(instance (instantiate $b)) (instance (instantiate $b))";
        text += &format!("(component $c{level} (alias outer 1 $c{below} (component $b)) {twice})");
    }
    let bytes = wat::parse_str(format!("(component {text} (instance (instantiate $c20)))")).unwrap();
    assert_eq!(too_many(bytes).await, "instances of components");
}

#[tokio::test]
async fn components_within_components_have_an_end() {
    let text = format!("{}{}", "(component ".repeat(40), ")".repeat(40));
    assert_eq!(too_many(wat::parse_str(text).unwrap()).await, "components within each other");
}

#[tokio::test]
async fn types_that_double_with_every_line_are_refused() {
    let mut text = String::from("(component (type $t0 (tuple u8 u8))");
    for level in 1..64 {
        let below = level - 1;
        text += &format!("(type $t{level} (tuple $t{below} $t{below}))");
    }
    text += r#"(import "weir:handler/clock@1.0.0" (instance (export "now" (func (param "t" u8)))))
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "handle" (func $f)))"#;
    let refused = start().prepare(wat::parse_str(text).unwrap().into()).await.unwrap_err();
    assert!(matches!(&refused, Refused::Compile(text) if text.contains("type")), "{refused}");
}

#[tokio::test]
async fn the_limits_of_an_upload_are_those_of_the_configuration() {
    let config =
        weir_runtime::Config { functions_max: 3, exports_max: 2, function_bytes_max: 10, ..config() };
    let runtime = Runtime::start(&config, None).unwrap();
    for (bytes, expected) in [
        (module(4, EMPTY, 0), "functions"),
        (module(1, EMPTY, 3), "exports"),
        (module(1, &[&[0][..], &[1; 20], &[0x0b]].concat(), 0), "bytes in one function"),
    ] {
        let refused = runtime.prepare(bytes.into()).await.unwrap_err();
        assert!(matches!(refused, Refused::TooMany { what, .. } if what == expected), "{refused}");
    }
}
