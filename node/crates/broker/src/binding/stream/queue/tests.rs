//! Tests of the lines of a binding's queue.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::{Message, Position, Qos, Topic};
use weir_store::{Mark, Record};

use super::*;

fn record(partition: u32, number: u64, key: &'static str) -> Delivered {
    let mark = Mark { position: Position { epoch: 1, ms: 1, seq: number }, number };
    let message = Arc::new(Message {
        topic: Topic::new("t").unwrap(),
        payload: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    });
    let record = Record { mark, key: Bytes::from_static(key.as_bytes()), message };
    Delivered { receipt: Receipt { partition, mark, attempt: 1 }, fence: 1, record, deliveries: 1 }
}

fn of(records: &[(u64, &'static str)]) -> Vec<Delivered> {
    records.iter().map(|(number, key)| record(0, *number, key)).collect()
}

/// The numbers of the records that a lane is given, and their line.
fn takes(queue: &Queue) -> (Vec<u64>, LineId) {
    let mut run = VecDeque::new();
    let Taken::Line(line) = queue.take(&mut run) else { panic!("there is nothing to take") };
    (run.iter().map(|record| record.receipt.mark.number).collect(), line)
}

fn is_empty(queue: &Queue) -> bool {
    queue.take(&mut VecDeque::new()) == Taken::Nothing
}

fn numbers(receipts: &[Receipt]) -> Vec<u64> {
    receipts.iter().map(|receipt| receipt.mark.number).collect()
}

#[test]
fn a_key_is_with_one_lane_until_that_gives_it_free() {
    let queue = Queue::default();
    assert!(queue.put(1, of(&[(1, "a"), (2, "b"), (3, "a")])).is_empty());
    let (first, line) = takes(&queue);
    assert_eq!(first, [1, 3]);
    assert!(queue.put(2, of(&[(4, "a")])).is_empty());
    assert_eq!(takes(&queue).0, [2]);
    assert!(is_empty(&queue), "the key is with a lane");
    queue.free(&mut vec![line]);
    assert_eq!(takes(&queue).0, [4]);
}

#[test]
fn one_key_in_two_partitions_is_two_lines() {
    let queue = Queue::default();
    assert!(queue.put(1, vec![record(0, 1, ""), record(1, 2, "")]).is_empty());
    assert_eq!((takes(&queue).0, takes(&queue).0), (vec![1], vec![2]));
}

#[test]
fn what_was_delivered_before_a_failure_does_not_overtake_it_and_what_comes_after_is_handled() {
    let queue = Queue::default();
    assert!(queue.put(1, of(&[(1, "a")])).is_empty());
    let (_, line) = takes(&queue);
    assert!(queue.put(2, of(&[(2, "a"), (3, "b")])).is_empty());
    assert_eq!(numbers(&queue.stop(line, 3)), [2]);
    assert_eq!(numbers(&queue.put(3, of(&[(4, "a"), (5, "b")]))), [4], "it was on its way here");
    assert!(queue.put(4, of(&[(1, "a"), (2, "a")])).is_empty());
    queue.free(&mut vec![line]);
    assert_eq!(takes(&queue).0, [3, 5]);
    assert_eq!(takes(&queue).0, [1, 2]);
}

#[test]
fn a_closed_queue_gives_back_everything_and_ends_its_lanes() {
    let queue = Queue::default();
    assert!(queue.put(1, of(&[(1, "a"), (2, "b")])).is_empty());
    assert_eq!(queue.close().len(), 2);
    assert_eq!(numbers(&queue.put(2, of(&[(3, "a")]))), [3]);
    assert_eq!(queue.take(&mut VecDeque::new()), Taken::Over);
}
