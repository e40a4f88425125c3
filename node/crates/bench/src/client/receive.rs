//! What a client does with what it reads.

use tokio::time::Instant;
use weir_model::Qos;
use weir_wire::mqtt::{Ack, ReasonCode, encode};

use super::keep_alive::Tick;
use super::{ACKNOWLEDGEMENTS_MAX, Client, Error, Event, INBOX_MESSAGES_MAX, Received};

impl Client {
    /// Reads until something happened that the caller should know.
    pub(super) async fn receive(
        &mut self,
        doing: &'static str,
        deadline: Option<Instant>,
    ) -> Result<Event, Error> {
        loop {
            if let Some(frame) = self.link.take_frame()? {
                let event = Event::of(&frame, self.link.version(), doing)?;
                if let Some(event) = self.digest(event) {
                    return Ok(event);
                }
                continue;
            }
            let now = Instant::now();
            match self.keep_alive.tick(now, self.link.last_write()) {
                Tick::Ping => encode::pingreq(self.link.output()),
                Tick::Dead => {
                    return Err(Error::TimedOut { doing: "waiting for PINGRESP", after: self.timeout });
                }
                Tick::Nothing => {}
            }
            let wake = [deadline, self.keep_alive.next(self.link.last_write())].into_iter().flatten().min();
            match wake {
                Some(at) => match tokio::time::timeout_at(at, self.link.fill(doing)).await {
                    Ok(filled) => filled?,
                    Err(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                        return Err(Error::TimedOut { doing, after: self.timeout });
                    }
                    Err(_) => {}
                },
                None => self.link.fill(doing).await?,
            }
        }
    }

    /// Does what the protocol asks for an event; `None` when that was all.
    fn digest(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Message { mut message, alias } => {
                if let Some(alias) = alias {
                    self.resolve_alias(alias, &mut message.topic);
                }
                let is_twice = message.qos == Qos::ExactlyOnce
                    && message.packet_id.is_some_and(|id| !self.unreleased.insert(id));
                if is_twice && !self.manual_acks {
                    self.queue_ack(message.qos, message.packet_id);
                    return None;
                }
                Some(Event::Message { message, alias: None })
            }
            Event::Released(id) => {
                self.unreleased.remove(&id);
                let version = self.link.version();
                encode::pubcomp(self.link.output(), &Ack::new(id, ReasonCode::Success), version);
                None
            }
            Event::Pong => {
                self.keep_alive.pong();
                Some(Event::Pong)
            }
            other => Some(other),
        }
    }

    fn resolve_alias(&mut self, alias: u16, topic: &mut String) {
        if topic.is_empty() {
            topic.clone_from(self.aliases.entry(alias).or_default());
        } else {
            self.aliases.insert(alias, topic.clone());
        }
    }

    /// Keeps what came while something else was awaited.
    pub(super) fn keep(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Message { message, .. } => {
                if self.inbox.len() == INBOX_MESSAGES_MAX {
                    return Err(Error::InboxFull { messages: INBOX_MESSAGES_MAX });
                }
                self.inbox.push_back(Received { message, is_acknowledged: self.manual_acks });
            }
            Event::Acknowledged(ack) => {
                if self.acknowledgements.len() == ACKNOWLEDGEMENTS_MAX {
                    self.acknowledgements.pop_front();
                }
                self.acknowledgements.push_back(ack);
            }
            Event::Answered { .. } | Event::Released(_) | Event::Pong => {}
        }
        Ok(())
    }
}
