//! Map-reduce.

use weir_model::UnixMillis;
use weir_runtime::{Change, Moment, World};

use crate::node::{Handler, message};

#[tokio::test]
async fn words_are_counted_merged_and_taken_back() {
    let handler = Handler::start("word-count", World::MergingReducer, &[]).await;
    let said = handler.pool.map(&message("talk", b"To be, or not to be")).await.result.unwrap();
    assert_eq!(said.iter().map(|pair| &*pair.key).collect::<Vec<_>>(), ["to", "be", "or", "not", "to", "be"]);

    let at = Moment { now: UnixMillis(1_000), id: (0, 1) };
    let reduce = async |state: Option<&[u8]>, weights: &[i32]| {
        let changes: Vec<_> =
            weights.iter().map(|&weight| Change { value: &said[1].value, weight }).collect();
        handler.pool.reduce("be", state, &changes, at).await.result.unwrap()
    };
    assert_eq!(reduce(None, &[1, 1]).await.as_deref(), Some(&b"2"[..]));
    assert_eq!(reduce(Some(b"2"), &[1, -1, -1]).await.as_deref(), Some(&b"1"[..]));
    assert_eq!(reduce(Some(b"1"), &[-1]).await, None);
    let merged = handler.pool.merge("be", &[b"2", b"3"], at).await.result.unwrap();
    assert_eq!(merged, b"5");
}
