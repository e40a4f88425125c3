//! Notices on the wire.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use prost::Message;

use super::Control;
use super::wire::{Violation, proto, put_message};
use proto::notice::Notice;

/// Appends a notice behind its length.
pub(crate) fn encode(out: &mut Vec<u8>, control: &Control) {
    let notice = match control.clone() {
        Control::TakenOver { realm, client_id, generation, fence } => Notice::TakenOver(proto::TakenOver {
            realm: realm.to_string(),
            client_id: client_id.to_string(),
            generation,
            fence,
        }),
        Control::LookInQueue { realm, client_id } => {
            Notice::LookInQueue(proto::Client { realm: realm.to_string(), client_id: client_id.to_string() })
        }
        Control::EndClean { realm, topic } => {
            Notice::EndClean(proto::Topic { realm: realm.to_string(), topic: topic.to_string() })
        }
        Control::Missed { messages } => Notice::Missed(proto::Missed { messages }),
        Control::Note { kind, body } => Notice::Note(proto::Note { kind, body }),
    };
    put_message(out, &proto::Notice { notice: Some(notice) });
}

/// Takes the first notice of a run.
///
/// # Errors
/// It is none, or of a kind that is not known here.
pub(crate) fn take(run: &mut Bytes) -> Result<Control, Violation> {
    let wrong = |what| Violation::Message { what };
    let len = run.try_get_u32_le().map_err(|_| wrong("a notice without its length"))? as usize;
    if len > run.len() {
        return Err(wrong("a notice ends early"));
    }
    let notice = proto::Notice::decode(run.split_to(len)).map_err(|_| wrong("a notice that is none"))?;
    Ok(match notice.notice.ok_or(wrong("a notice of an unknown kind"))? {
        Notice::TakenOver(taken) => Control::TakenOver {
            realm: Arc::from(taken.realm),
            client_id: Arc::from(taken.client_id),
            generation: taken.generation,
            fence: taken.fence,
        },
        Notice::LookInQueue(client) => {
            Control::LookInQueue { realm: Arc::from(client.realm), client_id: Arc::from(client.client_id) }
        }
        Notice::EndClean(of) => Control::EndClean { realm: Arc::from(of.realm), topic: Arc::from(of.topic) },
        Notice::Missed(missed) => Control::Missed { messages: missed.messages },
        Notice::Note(note) => Control::Note { kind: note.kind, body: note.body },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_come_out_as_they_went_in() {
        let text = |text: &str| Arc::<str>::from(text);
        let notices = [
            Control::TakenOver { realm: text("r"), client_id: text("c"), generation: 3, fence: 9 },
            Control::LookInQueue { realm: text("r"), client_id: text("") },
            Control::EndClean { realm: text("r"), topic: text("a/b") },
            Control::Missed { messages: 7 },
            Control::Note { kind: 4, body: Bytes::from_static(b"\0\xff") },
        ];
        let mut run = Vec::new();
        notices.iter().for_each(|notice| encode(&mut run, notice));
        let mut run = Bytes::from(run);
        for notice in notices {
            assert_eq!(take(&mut run), Ok(notice));
        }
        assert!(run.is_empty());
        assert!(take(&mut Bytes::from_static(b"\x05\0\0\0a")).is_err());
        assert!(take(&mut Bytes::from_static(b"\0\0\0\0")).is_err());
    }
}
