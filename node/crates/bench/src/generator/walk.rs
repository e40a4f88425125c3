//! Frames in a stream of bytes, found by their headers and looked at no further than needed.

use weir_wire::mqtt::{DecodeError, FRAME_BYTES_MAX, frame_len};

/// A frame longer than this is seen with its beginning only: topic (64 KiB at most), packet id, properties.
pub(super) const PREFIX_BYTES_MAX: usize = 72 * 1024;

/// What is left over between two reads of one connection.
#[derive(Debug, Default)]
pub(super) struct Walker {
    /// The beginning of a frame, shorter than [`PREFIX_BYTES_MAX`].
    partial: Vec<u8>,
    /// Bytes of a long frame that has been seen and is still arriving.
    skip: usize,
}

/// One frame: its type and flags, and the bytes behind its fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) first_byte: u8,
    /// All of the body, or the beginning of it for frames above [`PREFIX_BYTES_MAX`].
    pub(super) body: &'a [u8],
}

impl Walker {
    /// How many bytes of `buffer` the next read must leave free at its start. They are filled in here.
    pub(super) fn restore(&self, buffer: &mut [u8]) -> usize {
        buffer[..self.partial.len()].copy_from_slice(&self.partial);
        self.partial.len()
    }

    /// Calls `each` for the frames in `bytes`, which begin with what [`Walker::restore`] has put there.
    ///
    /// # Errors
    ///
    /// What cannot be an MQTT header.
    pub(super) fn walk<'a>(
        &mut self,
        bytes: &'a [u8],
        mut each: impl FnMut(Frame<'a>),
    ) -> Result<(), DecodeError> {
        self.partial.clear();
        let mut at = self.skip.min(bytes.len());
        self.skip -= at;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let Some(len) = frame_len(rest, FRAME_BYTES_MAX)? else { break };
            if len > rest.len() {
                if rest.len() < PREFIX_BYTES_MAX {
                    break;
                }
                self.skip = len - rest.len();
            }
            let seen = &rest[..len.min(rest.len())];
            each(Frame { first_byte: seen[0], body: &seen[header_len(len)..] });
            at += seen.len();
        }
        self.partial.extend_from_slice(&bytes[at..]);
        Ok(())
    }
}

/// Length of the fixed header of a frame of `len` bytes in all.
fn header_len(len: usize) -> usize {
    match len {
        0..=129 => 2,
        130..=16_386 => 3,
        16_387..=2_097_155 => 4,
        _ => 5,
    }
}

/// A PUBLISH seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublishView<'a> {
    /// Zero with QoS 0.
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    /// The beginning of the payload.
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The four upper bits: the packet type.
    pub(super) fn kind(&self) -> u8 {
        self.first_byte >> 4
    }

    pub(super) fn qos(&self) -> u8 {
        self.first_byte >> 1 & 3
    }

    /// The packet id of an acknowledgement.
    pub(super) fn ack_id(&self) -> [u8; 2] {
        [self.body.first().copied().unwrap_or(0), self.body.get(1).copied().unwrap_or(0)]
    }

    /// Whether an acknowledgement says no (MQTT 5 reason codes from 0x80).
    pub(super) fn is_refusal(&self) -> bool {
        self.body.get(2).is_some_and(|code| *code >= 0x80)
    }

    /// The parts of a PUBLISH that a generator cares about; `None` if it is cut short.
    pub(super) fn publish(&self, has_properties: bool) -> Option<PublishView<'a>> {
        let (topic_len, rest) = self.body.split_first_chunk::<2>()?;
        let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
        let mut packet_id = 0;
        if self.qos() > 0 {
            let (id, behind) = rest.split_first_chunk::<2>()?;
            packet_id = u16::from_be_bytes(*id);
            rest = behind;
        }
        if has_properties {
            rest = skip_properties(rest)?;
        }
        Some(PublishView { packet_id, qos: self.qos(), payload: rest })
    }
}

fn skip_properties(bytes: &[u8]) -> Option<&[u8]> {
    let mut len = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1 + len..);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_model::Qos;
    use weir_wire::mqtt::{MessageProperties, Publish, Version, encode};

    use super::*;

    fn frame(size: usize, qos: Qos, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        let payload = vec![size as u8; size];
        let properties = MessageProperties { content_type: Some("text"), ..MessageProperties::default() };
        let publish = Publish {
            qos,
            packet_id: std::num::NonZeroU16::new(if qos == Qos::AtMostOnce { 0 } else { 77 }),
            properties,
            ..Publish::new("bench/1", &payload)
        };
        encode::publish(&mut out, &publish, version);
        out
    }

    /// Feeds `bytes` in pieces of the given sizes and returns the payload sizes seen.
    fn walked(bytes: &[u8], pieces: &[usize], version: Version) -> Vec<usize> {
        let mut walker = Walker::default();
        let mut buffer = vec![0; 256 * 1024];
        let mut seen = Vec::new();
        let mut rest = bytes;
        let mut pieces = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let kept = walker.restore(&mut buffer);
            let count = pieces.next().unwrap_or(1).clamp(1, rest.len()).min(buffer.len() - kept);
            buffer[kept..kept + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            let each = |frame: Frame<'_>| {
                let publish = frame.publish(version == Version::V5);
                seen.push(publish.map_or(usize::MAX, |publish| publish.payload.len()));
            };
            walker.walk(&buffer[..kept + count], each).expect("the bytes are frames");
        }
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn frames_are_the_same_however_the_bytes_are_split(
            sizes in prop::collection::vec(0..3000usize, 1..40),
            pieces in prop::collection::vec(1..5000usize, 1..20),
            is_v5: bool,
        ) {
            let version = if is_v5 { Version::V5 } else { Version::V311 };
            let bytes: Vec<u8> =
                sizes.iter().flat_map(|size| frame(*size, Qos::AtLeastOnce, version)).collect();
            prop_assert_eq!(walked(&bytes, &pieces, version), sizes);
        }
    }

    #[test]
    fn a_frame_longer_than_any_buffer_is_counted_once_and_what_follows_is_found() {
        let mut bytes = frame(3_000_000, Qos::AtMostOnce, Version::V311);
        bytes.extend(frame(5, Qos::AtMostOnce, Version::V311));
        for piece in [50_000, 65_536, 200_000] {
            let seen = walked(&bytes, &[piece], Version::V311);
            assert_eq!((seen.len(), seen[1]), (2, 5), "pieces of {piece}");
        }
    }

    #[test]
    fn a_publish_shows_its_packet_id_and_the_start_of_its_payload() {
        let bytes = frame(9, Qos::ExactlyOnce, Version::V5);
        let mut walker = Walker::default();
        let mut seen = None;
        walker.walk(&bytes, |frame| seen = frame.publish(true)).expect("it is a frame");
        assert_eq!(seen, Some(PublishView { packet_id: 77, qos: 2, payload: &[9; 9] }));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert!(Walker::default().walk(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], |_| {}).is_err());
    }
}
