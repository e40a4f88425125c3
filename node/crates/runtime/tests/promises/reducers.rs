//! Map and reduce: what a message contributes, and what follows from all of them.

use weir_model::UnixMillis;
use weir_runtime::{Change, Failure, Keyed, Limits, Moment};

use crate::guests;
use crate::node::{message, pool};

const AT: Moment = Moment { now: UnixMillis(1), id: (1, 1) };

#[tokio::test]
async fn a_message_contributes_values_to_keys() {
    for guest in [guests::reducer(), guests::merging()] {
        let (_runtime, pool) = pool(guest, Limits::default()).await;
        let keyed = pool.map(&message(b"value")).await.result.unwrap();
        assert_eq!(keyed, [Keyed { key: "out".into(), value: b"value"[..].into() }]);
    }
}

#[tokio::test]
async fn a_state_follows_from_the_old_one_and_the_changes() {
    for guest in [guests::reducer(), guests::merging()] {
        let (_runtime, pool) = pool(guest, Limits::default()).await;
        let changes = [Change { value: b"a", weight: 1 }, Change { value: b"b", weight: -1 }];
        let first = pool.reduce("out", None, &changes, AT).await.result.unwrap();
        assert_eq!(first.as_deref(), Some(&[2][..]));
        let next = pool.reduce("out", first.as_deref(), &changes[..1], AT).await.result.unwrap();
        assert_eq!(next.as_deref(), Some(&[1, 2][..]));
        assert_eq!(pool.reduce("out", Some(b"x"), &[], AT).await.result.unwrap(), None);
    }
}

#[tokio::test]
async fn states_of_one_key_are_put_together() {
    let (_runtime, pool) = pool(guests::merging(), Limits::default()).await;
    let merged = pool.merge("out", &[b"one", b"two"], AT).await.result.unwrap();
    assert_eq!(merged, b"one");
}

#[tokio::test]
async fn a_state_above_the_limit_is_none() {
    let (_runtime, pool) = pool(guests::reducer(), Limits { output_bytes_max: 4, ..Limits::default() }).await;
    let changes = [Change { value: b"a", weight: 1 }];
    let failure = pool.reduce("out", Some(b"1234"), &changes, AT).await.result.unwrap_err();
    assert_eq!(failure, Failure::TooMuchOutput { outputs: 1, bytes: 5 });
}
