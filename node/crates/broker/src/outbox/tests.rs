//! What a full, an emptied and a closed outbox promise.

use super::*;
use crate::form::{Marks, Publish};
use bytes::Bytes;
use smallvec::SmallVec;
use weir_model::{Message, Qos, Topic};

/// Frames of one length byte and that many bytes.
struct Lengths;
impl Form for Lengths {
    fn protocol(&self) -> &'static str {
        "mqtt"
    }
    fn encode(&self, out: &mut Vec<u8>, publish: &Publish<'_>, _: Marks<'_>) {
        out.push(publish.payload.len() as u8 + 1);
        out.extend_from_slice(publish.payload);
    }
    fn frame_len(&self, frames: &[u8]) -> usize {
        frames[0] as usize
    }
    /// What it says.
    fn topic<'a>(&self, frame: &'a [u8]) -> Option<std::borrow::Cow<'a, str>> {
        std::str::from_utf8(&frame[1..]).ok().map(Into::into)
    }
}
static LENGTHS: Lengths = Lengths;

/// An outbox of connection 1, and a ledger.
fn opened() -> (Outbox, Ledger) {
    let outbox = Outbox::default();
    outbox.clear(1);
    (outbox, Ledger::default())
}

fn push_copy(outbox: &Outbox, number: Option<u64>, ledger: &Ledger) {
    outbox.push_copy(&Arc::from("c"), copy(number), &limits(), ledger);
}

fn limits() -> Limits {
    Limits { bytes_max: 30, bytes_high: 20, messages_max: 2, stalled_ms: 100 }
}

fn push(outbox: &Outbox, payload: &[u8], ledger: &Ledger) {
    let mut frames = Vec::new();
    let publish = Publish {
        topic: "t",
        payload,
        is_json: false,
        qos: Qos::AtMostOnce,
        retain: false,
        expiry_seconds: None,
        properties: None,
        conditions: None,
    };
    LENGTHS.encode(&mut frames, &publish, Marks { retain: false, subscription_ids: &[], publication: 0 });
    let client = Arc::from("c");
    let frames = RunFrames::Copy(&frames);
    let run = Run { form: &LENGTHS, frames, messages: 1, client: &client, topic: "t" };
    outbox.push_frames(&run, &limits(), ledger);
}

fn copy(number: Option<u64>) -> Live {
    let message = Arc::new(Message {
        topic: Topic::new("t").unwrap(),
        payload: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    });
    let delivery = Delivery {
        message,
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: SmallVec::new(),
        group: None,
    };
    Live { delivery, number, claim: None }
}

#[test]
fn a_full_outbox_drops_the_oldest_qos0_first() {
    let (outbox, ledger) = opened();
    for n in 0..8u8 {
        push(&outbox, &[n; 7], &ledger);
    }
    let taken = outbox.take_frames(&limits());
    let bytes: Vec<u8> = taken.chunks.iter().flat_map(|c| c.bytes().to_vec()).collect();
    assert_eq!(taken.messages, 3);
    assert_eq!(bytes.chunks(8).map(|frame| frame[1]).collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(ledger.dropped(Loss::OutboxFull), 5);
}

#[test]
fn a_frame_larger_than_the_outbox_is_counted_and_not_kept() {
    let (outbox, ledger) = opened();
    push(&outbox, &[1; 100], &ledger);
    assert_eq!(outbox.take_frames(&limits()).messages, 0);
    assert_eq!(ledger.dropped(Loss::OutboxFull), 1);
}

#[test]
fn too_many_copies_end_a_clean_session_and_leave_a_persistent_one_behind() {
    let (outbox, ledger) = opened();
    for n in 1..=3 {
        push_copy(&outbox, Some(n), &ledger);
    }
    assert!(outbox.take_behind());
    assert!(!outbox.heard(Bell::Overrun));
    push_copy(&outbox, None, &ledger);
    assert!(outbox.heard(Bell::Overrun));
    assert_eq!(ledger.dropped(Loss::Overrun), 1);
}

#[test]
fn frames_wake_a_connection_whose_copies_wait_for_answers() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (outbox, ledger) = opened();
    let woken = Arc::new(Count(AtomicUsize::new(0)));
    push_copy(&outbox, None, &ledger);
    outbox.register(1, &Context::from_waker(&woken.clone().into()));
    push(&outbox, b"x", &ledger);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_paced_connection_takes_whole_frames_in_order_and_leaves_the_rest() {
    let (outbox, ledger) = opened();
    for n in 0..3u8 {
        push(&outbox, &[n; 4], &ledger);
    }
    let take = |messages, bytes| {
        let taken = outbox.take_frames_within(Most { messages, bytes }, &LENGTHS, &limits());
        let bytes: Vec<u8> = taken.chunks.iter().flat_map(|c| c.bytes().to_vec()).collect();
        (taken.messages, bytes)
    };
    assert_eq!(take(0, 100), (0, vec![]));
    assert_eq!(take(1, 100), (1, vec![5, 0, 0, 0, 0]));
    assert_eq!(take(9, 1), (1, vec![5, 1, 1, 1, 1]));
    assert_eq!(outbox.take_frames(&limits()).messages, 1);
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[test]
fn what_is_shed_is_the_waiting_qos0_alone() {
    let (outbox, ledger) = opened();
    push(&outbox, &[1; 4], &ledger);
    push_copy(&outbox, Some(1), &ledger);
    let gone = outbox.shed();
    assert_eq!((gone.messages, gone.bytes), (1, 5));
    let mut copies = Vec::new();
    outbox.take_copies(10, &limits(), &mut copies);
    assert_eq!((copies.len(), outbox.take_frames(&limits()).messages), (1, 0));
}

#[test]
fn waiting_frames_of_a_lost_right_go_and_the_others_stay_in_order() {
    let (outbox, ledger) = opened();
    let shared = Bytes::from_static(b"\x02a\x02b\x02a");
    for topic in ["a", "b", "b"] {
        push(&outbox, topic.as_bytes(), &ledger);
    }
    let (frames, client) = (RunFrames::Share(&shared), Arc::from("c"));
    let run = Run { form: &LENGTHS, frames, messages: 3, client: &client, topic: "a" };
    outbox.push_frames(&run, &limits(), &ledger);
    push(&outbox, b"c", &ledger);
    let judge = |may: fn(&str) -> bool| outbox.judge_frames(&LENGTHS, &limits(), may);
    assert_eq!(judge(|topic| topic != "a"), 3);
    assert_eq!((outbox.waiting(), outbox.waiting_bytes()), (4, 8));
    assert_eq!(judge(|topic| topic != "a"), 0);
    let taken = outbox.take_frames(&limits());
    let bytes: Vec<u8> = taken.chunks.iter().flat_map(|c| c.bytes().to_vec()).collect();
    assert_eq!((taken.messages, &bytes[..]), (4, &b"\x02b\x02b\x02b\x02c"[..]));
    push(&outbox, b"a", &ledger);
    assert_eq!(judge(|_| false), 1);
    assert_eq!((outbox.waiting(), outbox.lanes.lock().frames.capacity()), (0, 0));
}

#[test]
fn an_outbox_without_a_connection_takes_nothing_and_counts_it() {
    let (outbox, ledger) = opened();
    push(&outbox, b"x", &ledger);
    push_copy(&outbox, None, &ledger);
    push_copy(&outbox, Some(1), &ledger);
    assert_eq!(outbox.waiting(), 2, "what lies in the store is none of the ledger's");
    assert_eq!(outbox.clear(0).0, 1);
    push(&outbox, b"x", &ledger);
    push_copy(&outbox, None, &ledger);
    push_copy(&outbox, Some(2), &ledger);
    assert_eq!((outbox.waiting(), ledger.dropped(Loss::Offline)), (0, 2));
    assert!(!outbox.heard(Bell::Overrun));
}

#[test]
fn an_emptied_outbox_holds_no_memory() {
    let (outbox, ledger) = opened();
    push(&outbox, b"x", &ledger);
    push_copy(&outbox, None, &ledger);
    let mut copies = Vec::new();
    outbox.take_frames(&limits());
    outbox.take_copies(10, &limits(), &mut copies);
    let lanes = outbox.lanes.lock();
    assert_eq!((lanes.frames.capacity(), lanes.copies.capacity()), (0, 0));
}
