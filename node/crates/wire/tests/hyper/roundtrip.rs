//! However bytes come and whatever they are: a message ends where it ends, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_wire::hyper::{Cut, decode};
use weir_wire::wamp::Limits;

/// Any value of MessagePack.
fn values() -> impl Strategy<Value = rmpv::Value> {
    let leaf = prop_oneof![
        Just(rmpv::Value::Nil),
        any::<bool>().prop_map(rmpv::Value::from),
        any::<u64>().prop_map(rmpv::Value::from),
        any::<i64>().prop_map(rmpv::Value::from),
        any::<f64>().prop_map(rmpv::Value::from),
        any::<f32>().prop_map(rmpv::Value::from),
        "\\PC{0,300}".prop_map(|text| rmpv::Value::from(text.as_str())),
        vec(any::<u8>(), 0..300).prop_map(rmpv::Value::Binary),
        (any::<i8>(), vec(any::<u8>(), 0..40)).prop_map(|(kind, bytes)| rmpv::Value::Ext(kind, bytes)),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(rmpv::Value::Array),
            vec((inner.clone(), inner), 0..20).prop_map(rmpv::Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_ends_where_it_ends_however_it_comes(
        value in values(),
        behind in vec(any::<u8>(), 0..20),
        steps in vec(1usize..64, 1..64),
    ) {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        let end = bytes.len();
        bytes.extend_from_slice(&behind);
        let (mut cut, mut come) = (Cut::default(), 0);
        for step in steps.into_iter().cycle() {
            prop_assert!(cut.wants() <= end);
            come = bytes.len().min(come + step);
            match cut.find(&bytes[..come], &Limits::default()).unwrap() {
                Some(found) => {
                    prop_assert_eq!(found, end);
                    break;
                }
                None => prop_assert!(come < end, "all of it has come"),
            }
        }
        // Asked once more, it says the same.
        prop_assert_eq!(cut.find(&bytes, &Limits::default()), Ok(Some(end)));
    }

    #[test]
    fn whatever_bytes_are_nothing_panics(bytes in vec(any::<u8>(), 0..2000)) {
        if let Ok(Some(end)) = Cut::default().find(&bytes, &Limits::default()) {
            let _ = decode(&bytes[..end], &Limits::default()).map(|request| format!("{request:?}"));
        }
        let _ = decode(&bytes, &Limits::default());
    }
}
