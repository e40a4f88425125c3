//! Exchanges of a topic's retained message and its guard, as the function takes them.

use weir_model::Position;

use super::{Steps, Values};
use crate::Exchange;
use crate::redis::layout::topic_id;
use crate::redis::text;

impl Steps {
    pub(super) fn exchange(&mut self, realm: &str, topic: &str, exchange: &Exchange) {
        let Exchange { seen, guard, values: retained, then } = exchange;
        let values = self.op("exchange", 6 + 2 * retained.len() as u64);
        values.text(topic_id(realm, topic));
        values.text(seen.map(|Position { ms, seq, .. }| format!("{ms}-{seq}")).unwrap_or_default());
        values.number(guard.unwrap_or(0));
        values.number(u64::from(then.is_some()));
        values.text_or_no(then.as_ref().and_then(|guard| guard.as_ref()));
        values.number(retained.len() as u64);
        for message in retained {
            match message {
                Some(message) => {
                    values.number(message.size_bytes() as u64);
                    values.text(text::encode(message));
                }
                None => {
                    values.no();
                    values.no();
                }
            }
        }
    }
}

impl Values {
    fn text_or_no(&mut self, text: Option<impl AsRef<[u8]>>) {
        match text {
            Some(text) => self.text(text),
            None => self.no(),
        }
    }
}
