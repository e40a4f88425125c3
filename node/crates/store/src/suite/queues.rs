//! Promises about queues: dense numbers, bounds, repeats, and the packet ids of QoS 2.

use super::*;

pub fn queue_numbers_are_dense_and_never_repeat(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    for expected in 1..=3 {
        assert_eq!(number(ask_one(&*store, &key, enqueue(fence.generation, message("m", 10)))), expected);
    }
    for number in [3, 1, 2, 2, 77] {
        assert_eq!(ask_one(&*store, &key, SessionOp::Ack { fence, number }), Ok(Outcome::Done));
    }
    assert_eq!(number(ask_one(&*store, &key, enqueue(fence.generation, message("n", 10)))), 4);
    assert_eq!(texts(&*store, &key), [(4, "n".to_owned())]);
}

pub fn an_unknown_session_takes_no_copies(make: Make) {
    let store = make();
    assert_eq!(ask_one(&*store, &client("nobody"), enqueue(1, message("m", 10))), Ok(Outcome::Gone));
}

pub fn a_full_queue_drops_the_oldest_and_counts_exactly(make: Make) {
    let store = make();
    let key = client("a");
    let generation = open(&*store, &key, resuming()).fence.generation;
    for text in ["1", "2", "3", "4", "5"] {
        ask_one(&*store, &key, enqueue(generation, message(text, 100))).unwrap();
    }
    let answer = ask_one(&*store, &key, enqueue(generation, message("6", 100)));
    assert_eq!(answer, Ok(Outcome::Enqueued { number: 6, dropped: 1 }));
    let answer = ask_one(&*store, &key, enqueue(generation, message("7", 750)));
    assert_eq!(answer, Ok(Outcome::Enqueued { number: 7, dropped: 3 }));
    assert_eq!(texts(&*store, &key).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [5, 6, 7]);
    let answer = ask_one(&*store, &key, enqueue(generation, message("8", 1001)));
    assert_eq!(answer, Ok(Outcome::QueueFull), "larger than the whole queue: nothing goes for it");
    let queue = open(&*store, &key, resuming()).queue;
    assert_eq!((queue.head, queue.tail, queue.messages, queue.bytes), (5, 7, 3, 950));
}

pub fn a_released_row_keeps_its_number_until_it_is_answered(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    for text in ["1", "2"] {
        ask_one(&*store, &key, enqueue(fence.generation, message(text, 10))).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(ask_one(&*store, &key, SessionOp::Pubrec { fence, number: 1 }), Ok(Outcome::Done));
    }
    assert_eq!(texts(&*store, &key), [(1, "-".to_owned()), (2, "2".to_owned())]);
    assert_eq!(open(&*store, &key, resuming()).queue.bytes, 10);
}

pub fn a_released_row_is_not_dropped_for_a_new_message(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    for text in ["1", "2", "3", "4", "5"] {
        ask_one(&*store, &key, enqueue(fence.generation, message(text, 10))).unwrap();
    }
    ask_one(&*store, &key, SessionOp::Pubrec { fence, number: 1 }).unwrap();
    ask_one(&*store, &key, enqueue(fence.generation, message("6", 10))).unwrap();
    assert_eq!(texts(&*store, &key).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
}

pub fn a_page_is_bounded_and_has_at_least_one_row(make: Make) {
    let store = make();
    let key = client("a");
    let generation = open(&*store, &key, resuming()).fence.generation;
    for text in ["1", "2", "3"] {
        ask_one(&*store, &key, enqueue(generation, message(text, 100))).unwrap();
    }
    let read = |after, rows_max, bytes_max| {
        let rows = wait(store.read_queue(key.clone(), after, Page { rows_max, bytes_max })).unwrap();
        rows.iter().map(|row| row.number).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 2, 10_000), [1, 2]);
    assert_eq!(read(1, 10, 200), [2, 3]);
    assert_eq!(read(0, 10, 1), [1]);
    assert!(read(3, 10, 1000).is_empty());
}

pub fn a_known_id_is_a_duplicate_within_the_window(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    let put = |count| ask_one(&*store, &key, enqueue_with(fence.generation, id(count), message("m", 10)));
    assert_eq!(number(put(1)), 1);
    assert_eq!(put(1), Ok(Outcome::Duplicate));
    ask_one(&*store, &key, SessionOp::Ack { fence, number: 1 }).unwrap();
    assert_eq!(put(1), Ok(Outcome::Duplicate), "also after it was delivered");
    for count in 2..=5 {
        assert_eq!(number(put(count)), count);
    }
    assert_eq!(number(put(1)), 6, "four ids are remembered");
    assert_eq!(put(5), Ok(Outcome::Duplicate));
}

pub fn one_message_for_many_is_whole_in_every_queue(make: Make) {
    let store = make();
    let keys: Vec<SessionKey> = (0..6).map(|n| client(&format!("c{n}"))).collect();
    let fences: Vec<Fence> = keys.iter().map(|key| open(&*store, key, resuming()).fence).collect();
    let shared = message("shared", 100);
    let copies = keys.iter().zip(&fences);
    let steps = copies.map(|(key, fence)| step(key, [enqueue(fence.generation, shared.clone())])).collect();
    for answer in ask(&*store, steps) {
        assert_eq!(number(answer.map(|mut outcomes| outcomes.remove(0))), 1);
    }
    for (n, (key, fence)) in keys.iter().zip(&fences).enumerate() {
        assert_eq!(texts(&*store, key), [(1, "shared".to_owned())], "of {n}");
        ask_one(&*store, key, SessionOp::Ack { fence: *fence, number: 1 }).unwrap();
        assert!(rows(&*store, key).is_empty());
    }
}

pub fn a_received_packet_id_has_one_id_until_it_is_released(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    let receive = || match ask_one(&*store, &key, SessionOp::Receive { fence, packet_id: 9 }) {
        Ok(Outcome::Received { first, id }) => (first, id),
        other => panic!("not received: {other:?}"),
    };
    let (first, id) = receive();
    assert!(first);
    assert_eq!((id.source, id.slot), (fence.generation, 9));
    assert_eq!(receive(), (false, id));
    for _ in 0..2 {
        let release = SessionOp::Release { fence, packet_id: 9 };
        assert_eq!(ask_one(&*store, &key, release), Ok(Outcome::Done));
    }
    let (first, next) = receive();
    assert!(first && next != id);
    let opened = open(&*store, &key, resuming());
    assert_eq!(opened.received, [9]);
}

pub fn a_share_group_is_a_queue_that_needs_no_owner(make: Make) {
    let store = make();
    let key = group("$share/g/t");
    assert_eq!(number(ask_one(&*store, &key, enqueue(0, message("1", 10)))), 1);
    assert_eq!(number(ask_one(&*store, &key, enqueue(0, message("2", 10)))), 2);
    assert_eq!(ask_one(&*store, &key, SessionOp::GroupAck { number: 1 }), Ok(Outcome::Done));
    assert_eq!(texts(&*store, &key), [(2, "2".to_owned())]);
    ask_one(&*store, &key, SessionOp::GroupAck { number: 2 }).unwrap();
    assert_eq!(number(ask_one(&*store, &key, enqueue(0, message("3", 10)))), 3);
    ask_one(&*store, &key, SessionOp::GroupAck { number: 1 }).unwrap();
    assert_eq!(texts(&*store, &key), [(3, "3".to_owned())], "a repeated ack takes nothing new");
}

pub fn submits_of_one_caller_are_applied_in_order(make: Make) {
    let store = make();
    let key = client("a");
    let fence = open(&*store, &key, resuming()).fence;
    let (sender, answers) = channel();
    for turn in 0..200 {
        let sender = sender.clone();
        let steps = vec![
            step(&key, [enqueue(fence.generation, message(&turn.to_string(), 10))]),
            step(&key, [SessionOp::Ack { fence, number: turn + 1 }]),
        ];
        store.submit(steps, Box::new(move |answer| sender.send((turn, answer)).unwrap()));
    }
    for expected in 0..200 {
        let (turn, mut answer) = answers.recv().unwrap();
        assert_eq!(turn, expected);
        assert_eq!(number(answer.remove(0).map(|mut outcomes| outcomes.remove(0))), expected + 1);
    }
    assert!(rows(&*store, &key).is_empty());
}
