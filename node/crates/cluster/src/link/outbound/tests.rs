//! Streams without IO: order, bounds, repeats.

use bytes::{Bytes, BytesMut};

use super::super::inbound::{Arrived, Inbound};
use super::super::wire::take_frame;
use super::*;

const LIMITS: Limits =
    Limits { frames_bytes_max: 1 << 20, frames_bytes_high: 1 << 19, held_bytes_max: 1 << 20 };

/// A run that a reader can find the end of: its length, its number, filling.
fn run(number: u32, bytes: usize) -> Vec<u8> {
    let mut run = (bytes as u32).to_le_bytes().to_vec();
    run.extend_from_slice(&number.to_le_bytes());
    run.resize(bytes.max(8), 0);
    run
}

fn numbers(mut runs: &[u8]) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(head) = runs.first_chunk::<8>() {
        let len = u32::from_le_bytes(*head.first_chunk().unwrap()) as usize;
        numbers.push(u32::from_le_bytes(*head.last_chunk().unwrap()));
        runs = &runs[len..];
    }
    numbers
}

#[derive(Default)]
struct Came {
    frames: Vec<u32>,
    sure: Vec<u32>,
    repeats: u32,
}

impl Came {
    fn take(&mut self, inbound: &mut Inbound, chunks: &[Bytes]) {
        let mut read = BytesMut::new();
        chunks.iter().for_each(|chunk| read.extend_from_slice(chunk));
        while let Some((header, bytes)) = take_frame(&mut read).unwrap() {
            match inbound.take(header, bytes).unwrap() {
                Arrived::Frames { run, .. } => self.frames.extend(numbers(&run)),
                Arrived::Sure { run, .. } => self.sure.extend(numbers(&run)),
                Arrived::Repeat { messages } => self.repeats += messages,
                Arrived::Nothing => {}
            }
        }
        assert!(read.is_empty());
    }
}

fn drain(outbound: &mut Outbound) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while outbound.has_unsent() {
        assert!(outbound.take(&mut chunks).bytes > 0);
    }
    chunks
}

#[test]
fn small_runs_overtake_a_large_one_of_another_topic_only() {
    let (mut outbound, mut inbound) = (Outbound::new(LIMITS), Inbound::new(1 << 20));
    outbound.push_sure(1, &run(0, 64), 1).unwrap();
    outbound.push_sure(1, &run(1, 300_000), 1).unwrap();
    outbound.push_sure(1, &run(2, 64), 1).unwrap();
    let mut came = Came::default();
    let mut chunks = Vec::new();
    outbound.take(&mut chunks);
    outbound.push_sure(2, &run(3, 64), 1).unwrap();
    chunks.extend(drain(&mut outbound));
    came.take(&mut inbound, &chunks);
    assert_eq!(came.sure, [0, 3, 1, 2]);
}

#[test]
fn a_large_run_ends_behind_all_that_was_pushed_before_it() {
    let (mut outbound, mut inbound) = (Outbound::new(LIMITS), Inbound::new(1 << 20));
    for number in 0..300 {
        outbound.push_frames(1, &run(number, 1000), 1);
    }
    outbound.push_frames(1, &run(300, 40_000), 1);
    let mut came = Came::default();
    came.take(&mut inbound, &drain(&mut outbound));
    assert_eq!(came.frames, (0..=300).collect::<Vec<_>>());
}

#[test]
fn topics_are_small_again_when_the_large_one_is_confirmed() {
    let mut outbound = Outbound::new(LIMITS);
    outbound.push_sure(1, &run(0, 40_000), 1).unwrap();
    drain(&mut outbound);
    assert_eq!(outbound.confirm(Numbers { small: 0, large: 1 }), 1);
    outbound.push_sure(1, &run(1, 64), 1).unwrap();
    drain(&mut outbound);
    assert_eq!(outbound.next_numbers(), Numbers { small: 1, large: 2 });
    assert_eq!(outbound.confirm(Numbers { small: 1, large: 1 }), 1);
    assert_eq!(outbound.next_numbers(), Numbers { small: 2, large: 2 });
}

#[test]
fn what_is_not_confirmed_is_sent_again_and_dropped_where_it_was_taken() {
    let (mut outbound, mut inbound) = (Outbound::new(LIMITS), Inbound::new(1 << 20));
    let mut came = Came::default();
    for number in 0..10 {
        outbound.push_sure(1, &run(number, 20_000), 1).unwrap();
    }
    let chunks = drain(&mut outbound);
    came.take(&mut inbound, &chunks[..2]);
    outbound.restart();
    inbound.restart();
    let mut again = Vec::new();
    let mut taken = Taken::default();
    while outbound.has_unsent() {
        let now = outbound.take(&mut again);
        (taken.again, taken.sure) = (taken.again + now.again, taken.sure + now.sure);
    }
    assert_eq!((taken.again, taken.sure), (10, 0));
    came.take(&mut inbound, &again);
    assert_eq!(came.sure, (0..10).collect::<Vec<_>>());
    assert_eq!(came.repeats, 6);
    assert_eq!(outbound.confirm(inbound.heard()), 10);
    assert_eq!(outbound.unconfirmed(), 0);
}

#[test]
fn a_full_stream_drops_the_oldest_qos0_and_refuses_what_must_arrive() {
    let limits = Limits { frames_bytes_max: 200_000, held_bytes_max: 1000, ..LIMITS };
    let (mut outbound, mut inbound) = (Outbound::new(limits), Inbound::new(1 << 20));
    let dropped: u64 = (0..1000).map(|number| outbound.push_frames(1, &run(number, 1000), 1)).sum();
    assert!(outbound.presses());
    let mut came = Came::default();
    came.take(&mut inbound, &drain(&mut outbound));
    assert_eq!(came.frames, (dropped as u32..1000).collect::<Vec<_>>());
    assert!(came.frames.len() > 100);

    outbound.push_sure(1, &run(0, 900), 1).unwrap();
    assert!(!outbound.has_room());
    assert_eq!(outbound.push_sure(1, &run(1, 900), 1), Err(Full));
    drain(&mut outbound);
    assert_eq!(outbound.push_sure(1, &run(1, 900), 1), Err(Full), "sent is not confirmed");
    outbound.confirm(Numbers { small: 1, large: 0 });
    assert!(outbound.has_room());
    outbound.push_sure(1, &run(1, 900), 1).unwrap();
}

#[test]
fn a_stream_presses_above_its_mark_and_is_low_at_half_of_it() {
    let limits = Limits { frames_bytes_high: 10_000, ..LIMITS };
    let mut outbound = Outbound::new(limits);
    for number in 0..5 {
        assert!(outbound.is_low() && !outbound.presses());
        outbound.push_frames(1, &run(number, 1000), 1);
    }
    for number in 5..11 {
        outbound.push_frames(1, &run(number, 1000), 1);
    }
    assert!(outbound.presses() && !outbound.is_low());
    drain(&mut outbound);
    assert!(outbound.is_low() && !outbound.presses());
    // What must arrive has marks of its own.
    outbound.push_sure(1, &run(0, 900_000), 1).unwrap();
    assert!(outbound.presses_sure() && !outbound.is_low() && !outbound.presses());
}

#[test]
fn a_run_beyond_all_bounds_is_taken_alone() {
    let limits = Limits { frames_bytes_max: 1000, held_bytes_max: 1000, ..LIMITS };
    let (mut outbound, mut inbound) = (Outbound::new(limits), Inbound::new(1 << 20));
    assert_eq!(outbound.push_frames(1, &run(0, 100_000), 1), 0);
    outbound.push_sure(1, &run(0, 100_000), 1).unwrap();
    assert_eq!(outbound.push_sure(1, &run(1, 8), 1), Err(Full));
    assert_eq!(outbound.push_frames(1, &run(1, 100_000), 1), 1);
    let mut came = Came::default();
    came.take(&mut inbound, &drain(&mut outbound));
    assert_eq!((came.frames, came.sure), (vec![1], vec![0]));
}

#[test]
fn a_receiver_refuses_gaps_and_runs_without_end() {
    let (mut outbound, mut inbound) = (Outbound::new(LIMITS), Inbound::new(100_000));
    let header = Header { kind: Kind::Sure, len: 0, messages: 1, number: 2 };
    assert_eq!(
        inbound.take(header, Bytes::new()),
        Err(super::super::wire::Violation::Gap { number: 2, expected: 1 })
    );
    outbound.push_frames(1, &run(0, 200_000), 1);
    let chunks = drain(&mut outbound);
    let mut read = BytesMut::from(&chunks.concat()[..]);
    let mut results = std::iter::from_fn(|| take_frame(&mut read).unwrap())
        .map(|(header, bytes)| inbound.take(header, bytes));
    assert!(results.any(|result| matches!(result, Err(super::super::wire::Violation::TooLong { .. }))));
}
