//! PUBLISH frames encoded once and written again and again.

use std::num::NonZeroU16;

use weir_model::Qos;
use weir_wire::mqtt::{Publish, Version, encode};

/// What one write is meant to carry when nothing else is said.
const WRITE_BYTES: usize = 64 * 1024;

/// Most bytes of encoded frames held for one publisher.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Equal frames of one topic, one after the other; with QoS 1 and 2 under packet ids from 1 upwards.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    frame_bytes: usize,
    payload_at: usize,
}

/// What the frames of a batch say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) topic: &'a str,
    pub(super) size: usize,
    pub(super) qos: Qos,
    pub(super) version: Version,
    /// QoS 1 and 2 only: how many may be in flight, which takes at least twice as many packet ids.
    pub(super) window: u16,
}

impl Shape<'_> {
    /// How many frames fill a 64 KiB buffer; at least one.
    pub(super) fn frames_in_a_write(&self) -> usize {
        let mut frame = Vec::new();
        self.encode(&mut frame, 1, &vec![0; self.size]);
        (WRITE_BYTES / frame.len()).max(1)
    }

    fn encode(&self, out: &mut Vec<u8>, id: u16, payload: &[u8]) {
        let packet_id = if self.qos == Qos::AtMostOnce { None } else { NonZeroU16::new(id) };
        let publish = Publish { qos: self.qos, packet_id, ..Publish::new(self.topic, payload) };
        encode::publish(out, &publish, self.version);
    }
}

impl Batch {
    /// Encodes at least `frames` frames (as far as memory allows, and as the packet ids need).
    pub(super) fn new(shape: &Shape<'_>, frames: usize) -> Batch {
        let payload = vec![b'x'; shape.size];
        let mut bytes = Vec::new();
        shape.encode(&mut bytes, 1, &payload);
        let frame_bytes = bytes.len();
        let needed = if shape.qos == Qos::AtMostOnce { 1 } else { 2 * usize::from(shape.window) };
        let affordable = (BATCH_BYTES_MAX / frame_bytes).max(1);
        let count = frames.min(affordable).max(needed).min(usize::from(u16::MAX));
        for id in 2..=count {
            shape.encode(&mut bytes, id as u16, &payload);
        }
        Batch { bytes, frame_bytes, payload_at: frame_bytes - shape.size }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Writes a time into the first 8 bytes of the payloads of the frames from byte `at` to byte `end`.
    pub(super) fn stamp(&mut self, at: usize, end: usize, nanoseconds: u64) {
        for frame in self.bytes[at..end].chunks_exact_mut(self.frame_bytes) {
            if let Some(stamp) = frame.get_mut(self.payload_at..self.payload_at + 8) {
                stamp.copy_from_slice(&nanoseconds.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::mqtt::{Packet, decode};

    use super::*;

    fn shape(qos: Qos) -> Shape<'static> {
        Shape { topic: "bench/7", size: 64, qos, version: Version::V5, window: 64 }
    }

    #[test]
    fn a_write_of_small_messages_fills_64_kib_and_not_more() {
        let frames = shape(Qos::AtMostOnce).frames_in_a_write();
        let batch = Batch::new(&shape(Qos::AtMostOnce), frames);
        assert!(batch.bytes().len() <= WRITE_BYTES);
        assert!(batch.bytes().len() + batch.frame_bytes() > WRITE_BYTES);
    }

    #[test]
    fn every_frame_of_a_batch_is_a_publish_with_its_own_id_and_stamp() {
        let mut batch = Batch::new(&shape(Qos::AtLeastOnce), 10);
        let frame_bytes = batch.frame_bytes();
        batch.stamp(frame_bytes, 3 * frame_bytes, 0x0102_0304_0506_0708);
        for (at, frame) in batch.bytes().chunks_exact(frame_bytes).enumerate() {
            let Ok(Packet::Publish(publish)) = decode(frame, Version::V5) else { panic!("frame {at}") };
            assert_eq!(publish.packet_id.map(|id| usize::from(id.get())), Some(at + 1));
            assert_eq!(publish.payload.len(), 64);
            let is_stamped = publish.payload.starts_with(&[1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(is_stamped, at == 1 || at == 2, "frame {at}");
        }
        assert_eq!(batch.bytes().len() / frame_bytes, 128, "twice the window");
    }

    #[test]
    fn a_message_larger_than_a_write_goes_alone() {
        let large = Shape { size: 1_000_000, ..shape(Qos::AtMostOnce) };
        assert_eq!(large.frames_in_a_write(), 1);
        assert_eq!(Batch::new(&large, 1).bytes().len() / 1_000_000, 1);
    }
}
