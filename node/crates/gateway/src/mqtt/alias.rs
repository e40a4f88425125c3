//! Topic aliases, both ways (MQTT-3.3.2.3.4).

use hashbrown::HashMap;
use weir_wire::mqtt::{self, Publish, ReasonCode, Version, encode};

/// What a client's aliases stand for.
#[derive(Default)]
pub struct Incoming {
    topics: Vec<Option<Box<str>>>,
}

impl Incoming {
    /// The topic a PUBLISH means; an alias with a topic is noted.
    pub fn resolve<'a>(&'a mut self, publish: &Publish<'a>, max: u16) -> Result<&'a str, ReasonCode> {
        let Some(alias) = publish.topic_alias else {
            return if publish.topic.is_empty() { Err(ReasonCode::ProtocolError) } else { Ok(publish.topic) };
        };
        let at = usize::from(alias.get() - 1);
        if alias.get() > max {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        if self.topics.len() <= at {
            self.topics.resize_with(at + 1, || None);
        }
        if !publish.topic.is_empty() {
            let known = self.topics[at].as_deref() == Some(publish.topic);
            if !known {
                self.topics[at] = Some(publish.topic.into());
            }
            return Ok(publish.topic);
        }
        self.topics[at].as_deref().ok_or(ReasonCode::ProtocolError)
    }
}

/// Aliases the broker gives: the first topics sent get one each.
pub struct Outgoing {
    aliases: HashMap<Box<str>, u16>,
    max: u16,
}

impl Outgoing {
    pub fn new(max: u16) -> Outgoing {
        Outgoing { aliases: HashMap::new(), max }
    }

    /// Copies frames of PUBLISH packets with aliases in place of topics; those larger than
    /// `frame_bytes_max` are left out. Returns how many were.
    pub fn rewrite(&mut self, mut frames: &[u8], frame_bytes_max: usize, out: &mut Vec<u8>) -> u64 {
        let mut left_out = 0;
        while let Ok(Some(len)) = mqtt::frame_len(frames, mqtt::FRAME_BYTES_MAX) {
            let (frame, rest) = frames.split_at(len.min(frames.len()));
            frames = rest;
            let start = out.len();
            match mqtt::decode_publish(frame[0], mqtt::body(frame), Version::V5) {
                Ok(publish) if self.max > 0 => self.encode(out, publish),
                _ => out.extend_from_slice(frame),
            }
            if out.len() - start > frame_bytes_max {
                out.truncate(start);
                left_out += 1;
            }
        }
        left_out
    }

    fn encode(&mut self, out: &mut Vec<u8>, publish: Publish<'_>) {
        let known = self.aliases.get(publish.topic).copied();
        let (topic, alias) = match known {
            Some(alias) => ("", Some(alias)),
            None if self.aliases.len() < usize::from(self.max) => {
                let alias = self.aliases.len() as u16 + 1;
                self.aliases.insert(publish.topic.into(), alias);
                (publish.topic, Some(alias))
            }
            None => (publish.topic, None),
        };
        let topic_alias = alias.and_then(std::num::NonZeroU16::new);
        encode::publish(out, &Publish { topic, topic_alias, ..publish }, Version::V5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(frames: &[u8]) -> Vec<(String, Option<u16>)> {
        let (mut rest, mut found) = (frames, Vec::new());
        while let Ok(Some(len)) = mqtt::frame_len(rest, usize::MAX) {
            let publish = mqtt::decode_publish(rest[0], mqtt::body(&rest[..len]), Version::V5).unwrap();
            found.push((publish.topic.to_owned(), publish.topic_alias.map(|a| a.get())));
            rest = &rest[len..];
        }
        found
    }

    #[test]
    fn a_topic_is_spelled_once_and_then_only_its_alias_is_sent() {
        let mut frames = Vec::new();
        for topic in ["a", "b", "a", "c", "b"] {
            encode::publish(&mut frames, &Publish::new(topic, b"x"), Version::V5);
        }
        let (mut outgoing, mut out) = (Outgoing::new(2), Vec::new());
        assert_eq!(outgoing.rewrite(&frames, usize::MAX, &mut out), 0);
        let expected = [("a", Some(1)), ("b", Some(2)), ("", Some(1)), ("c", None), ("", Some(2))];
        assert_eq!(topics(&out), expected.map(|(t, a)| (t.to_owned(), a)));
    }

    #[test]
    fn frames_larger_than_the_client_takes_are_left_out_and_counted() {
        let mut frames = Vec::new();
        encode::publish(&mut frames, &Publish::new("a", &[0; 100]), Version::V5);
        encode::publish(&mut frames, &Publish::new("a", b"x"), Version::V5);
        let mut out = Vec::new();
        assert_eq!(Outgoing::new(0).rewrite(&frames, 50, &mut out), 1);
        assert_eq!(topics(&out).len(), 1);
    }
}
