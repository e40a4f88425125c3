//! A small MQTT client: one connection, driven by whoever holds it, against any broker.
//!
//! It has no task of its own: bytes move while one of its methods is awaited. It does not reconnect.

mod convert;
mod error;
mod event;
mod keep_alive;
mod link;
mod message;
mod options;
mod receive;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;
use weir_model::Qos;
use weir_net::Stream;
use weir_wire::mqtt::{Ack, Disconnect, Publish, ReasonCode, SubscribeOptions, Version, encode};

pub use error::Error;
pub use event::Event;
pub use message::{AckKind, Acknowledgement, Incoming, Message, Properties};
pub use options::{Options, Will};
pub use server::Server;

use keep_alive::KeepAlive;
use link::Link;

/// Messages read while waiting for something else. Full: [`Error::InboxFull`], because the caller has to
/// take them out with [`Client::next`] before asking for more.
pub const INBOX_MESSAGES_MAX: usize = 65_536;

/// Acknowledgements nobody waited for, kept for [`Client::acknowledged`]. Full: the oldest is forgotten.
const ACKNOWLEDGEMENTS_MAX: usize = 65_536;

/// One connection to a broker.
pub struct Client {
    link: Link,
    server: Server,
    keep_alive: KeepAlive,
    timeout: Duration,
    manual_acks: bool,
    last_id: u16,
    inbox: VecDeque<Received>,
    acknowledgements: VecDeque<Acknowledgement>,
    /// Topics by alias, as this server has set them (MQTT-3.3.2-10).
    aliases: HashMap<u16, String>,
    /// QoS 2 messages received and not yet released: a second copy is not delivered (MQTT-4.3.3-10).
    unreleased: HashSet<NonZeroU16>,
}

/// A message in the inbox.
struct Received {
    message: Incoming,
    is_acknowledged: bool,
}

/// One filter to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub filter: String,
    pub options: SubscribeOptions,
}

impl Subscription {
    /// A filter with a QoS and the standard's defaults.
    pub fn new(filter: impl Into<String>, qos: Qos) -> Subscription {
        Subscription { filter: filter.into(), options: SubscribeOptions { qos, ..Default::default() } }
    }
}

impl Client {
    /// Opens a connection to `url` (`mqtt`, `mqtts`, `ws`, `wss`, `quic`) and introduces the client.
    ///
    /// # Errors
    ///
    /// What stood in the way of the transport, the server's refusal with its reason code, or a timeout.
    pub async fn connect(url: &Url, options: &Options) -> Result<Client, Error> {
        let introduced = async {
            let stream = Link::open(url, options).await?;
            Client::introduce(stream, url, options).await
        };
        let doing = "connecting";
        let late = Error::TimedOut { doing, after: options.timeout };
        tokio::time::timeout(options.timeout, introduced).await.unwrap_or(Err(late))
    }

    async fn introduce(stream: Stream, url: &Url, options: &Options) -> Result<Client, Error> {
        let packet_bytes_max = options.packet_bytes_max.map_or(usize::MAX, |max| max.get() as usize);
        let mut link = Link::new(stream, options.version, packet_bytes_max);
        convert::connect(link.output(), options)?;
        let server = Server::of_connack(&link.frame("waiting for CONNACK").await?, url, options.version)?;
        let seconds = server.keep_alive_seconds.unwrap_or(options.keep_alive_seconds);
        Ok(Client {
            link,
            server,
            keep_alive: KeepAlive::new(seconds, options.timeout),
            timeout: options.timeout,
            manual_acks: options.manual_acks,
            last_id: 0,
            inbox: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            aliases: HashMap::new(),
            unreleased: HashSet::new(),
        })
    }

    /// What the server said in its CONNACK.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether the server kept a session for this client id (MQTT-3.2.2-2).
    pub fn session_present(&self) -> bool {
        self.server.session_present
    }

    pub fn version(&self) -> Version {
        self.link.version()
    }

    /// Publishes and waits until the server has it: for PUBACK with QoS 1, for PUBREC and PUBCOMP with
    /// QoS 2. `None` with QoS 0. Of QoS 2 the PUBREC is returned, because it carries the reason.
    ///
    /// # Errors
    ///
    /// [`Error::PublishRefused`] for a reason code of 0x80 and above, and all that ends a connection.
    pub async fn publish(&mut self, message: &Message) -> Result<Option<Acknowledgement>, Error> {
        if message.qos == Qos::AtMostOnce {
            self.queue_publish(message, None, false)?;
            self.link.flush("publishing").await?;
            return Ok(None);
        }
        let id = self.fresh_id();
        self.queue_publish(message, Some(id), false)?;
        let first = self.wait_for_ack(id).await?;
        if first.is_refusal() {
            return Err(Error::PublishRefused {
                topic: message.topic.clone(),
                code: first.code,
                reason: first.reason,
            });
        }
        if first.kind == AckKind::Pubrec {
            self.queue_release(id);
            self.wait_for_ack(id).await?;
        }
        Ok(Some(first))
    }

    /// Sends a PUBLISH with a packet id and DUP flag of the caller's choice and waits for nothing but the
    /// socket; [`Client::acknowledged`] tells what the server answers. With QoS 0 both are ignored.
    pub async fn publish_with_id(
        &mut self,
        message: &Message,
        packet_id: NonZeroU16,
        dup: bool,
    ) -> Result<(), Error> {
        let id = (message.qos != Qos::AtMostOnce).then_some(packet_id);
        self.queue_publish(message, id, dup && id.is_some())?;
        self.link.flush("publishing").await
    }

    /// The next PUBACK, PUBREC or PUBCOMP nobody has waited for. Cancel safe. Messages that come
    /// meanwhile wait for [`Client::next`].
    pub async fn acknowledged(&mut self) -> Result<Acknowledgement, Error> {
        loop {
            if let Some(ack) = self.acknowledgements.pop_front() {
                return Ok(ack);
            }
            let event = self.receive("waiting for an acknowledgement", None).await?;
            self.keep(event)?;
        }
    }

    /// Sends PUBREL, the publisher's second step of QoS 2 (MQTT-4.3.3-5).
    pub async fn release(&mut self, packet_id: NonZeroU16) -> Result<(), Error> {
        self.queue_release(packet_id);
        self.link.flush("releasing a message").await
    }

    /// Sends a SUBSCRIBE with these user properties (MQTT 5) and waits for nothing but the socket: whoever takes the
    /// connection apart then reads the SUBACK.
    pub(crate) async fn begin_subscribe(
        &mut self,
        subscriptions: &[Subscription],
        user: &[(&str, &str)],
    ) -> Result<(), Error> {
        let id = self.fresh_id();
        let version = self.link.version();
        convert::subscribe(self.link.output(), id, subscriptions, None, user, version)?;
        self.link.flush("subscribing").await
    }

    /// Subscribes to all of `subscriptions` in one packet, under one id if given (MQTT 5), and returns
    /// one code for each; 0x80 and above is a refusal.
    pub async fn subscribe(
        &mut self,
        subscriptions: &[Subscription],
        subscription_id: Option<u32>,
    ) -> Result<Vec<ReasonCode>, Error> {
        let id = self.fresh_id();
        let version = self.link.version();
        convert::subscribe(self.link.output(), id, subscriptions, subscription_id, &[], version)?;
        self.wait_for_codes(id, "waiting for SUBACK").await
    }

    /// Unsubscribes. An MQTT 3 server gives no codes.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Result<Vec<ReasonCode>, Error> {
        let id = self.fresh_id();
        let version = self.link.version();
        convert::unsubscribe(self.link.output(), id, filters, version)?;
        self.wait_for_codes(id, "waiting for UNSUBACK").await
    }

    /// The next message, for as long as it takes, acknowledged unless `manual_acks` is set. Keeps the
    /// connection alive meanwhile. Cancel safe: a message is either returned or still to come.
    pub async fn next(&mut self) -> Result<Incoming, Error> {
        loop {
            if self.inbox.is_empty() {
                let event = self.receive("waiting for a message", None).await?;
                self.keep(event)?;
                continue;
            }
            self.acknowledge_first();
            self.link.flush("acknowledging").await?;
            if let Some(received) = self.inbox.pop_front() {
                return Ok(received.message);
            }
        }
    }

    /// The first step of acknowledging a message received with `manual_acks`: PUBACK or PUBREC. (The
    /// PUBREL that follows a PUBREC is always answered by itself.)
    pub async fn acknowledge(&mut self, message: &Incoming) -> Result<(), Error> {
        self.queue_ack(message.qos, message.packet_id);
        self.link.flush("acknowledging").await
    }

    /// Sends PINGREQ and waits for its answer.
    pub async fn ping(&mut self) -> Result<(), Error> {
        encode::pingreq(self.link.output());
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.receive("waiting for PINGRESP", Some(deadline)).await? {
                Event::Pong => return Ok(()),
                event => self.keep(event)?,
            }
        }
    }

    /// Says goodbye, so that no will is published, and closes.
    pub async fn disconnect(self) -> Result<(), Error> {
        self.disconnect_with(&Disconnect::new(ReasonCode::Success)).await
    }

    /// Says goodbye with a reason, a session expiry or properties (MQTT 5), and closes.
    pub async fn disconnect_with(mut self, goodbye: &Disconnect<'_>) -> Result<(), Error> {
        let version = self.link.version();
        encode::disconnect(self.link.output(), goodbye, version);
        self.link.flush("disconnecting").await?;
        self.link.close(self.timeout).await;
        Ok(())
    }

    /// The bare stream, and bytes read from it that are no whole frame yet. What is in the inbox is lost.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        self.link.into_parts()
    }

    fn acknowledge_first(&mut self) {
        let Some(first) = self.inbox.front_mut() else { return };
        if first.is_acknowledged {
            return;
        }
        first.is_acknowledged = true;
        let (qos, packet_id) = (first.message.qos, first.message.packet_id);
        self.queue_ack(qos, packet_id);
    }

    async fn wait_for_ack(&mut self, id: NonZeroU16) -> Result<Acknowledgement, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.receive("waiting for an acknowledgement", Some(deadline)).await? {
                Event::Acknowledged(ack) if ack.packet_id == id => return Ok(ack),
                event => self.keep(event)?,
            }
        }
    }

    async fn wait_for_codes(
        &mut self,
        id: NonZeroU16,
        doing: &'static str,
    ) -> Result<Vec<ReasonCode>, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.receive(doing, Some(deadline)).await? {
                Event::Answered { packet_id, codes } if packet_id == id => return Ok(codes),
                event => self.keep(event)?,
            }
        }
    }

    fn queue_publish(&mut self, message: &Message, id: Option<NonZeroU16>, dup: bool) -> Result<(), Error> {
        convert::check_message(message)?;
        let user = message.properties.user_pairs();
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            packet_id: id,
            properties: message.properties.borrow(&user),
            ..Publish::new(&message.topic, &message.payload)
        };
        let version = self.link.version();
        let output = self.link.output();
        let start = output.len();
        encode::publish(output, &publish, version);
        let bytes = output.len() - start;
        let bytes_max = self.server.packet_bytes_max;
        if bytes > bytes_max {
            output.truncate(start);
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        Ok(())
    }

    fn queue_ack(&mut self, qos: Qos, packet_id: Option<NonZeroU16>) {
        let Some(id) = packet_id else { return };
        let version = self.link.version();
        let ack = Ack::new(id, ReasonCode::Success);
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => encode::puback(self.link.output(), &ack, version),
            Qos::ExactlyOnce => encode::pubrec(self.link.output(), &ack, version),
        }
    }

    fn queue_release(&mut self, id: NonZeroU16) {
        let version = self.link.version();
        encode::pubrel(self.link.output(), &Ack::new(id, ReasonCode::Success), version);
    }

    /// Packet ids 1 to 65,535 in turn. Only one of them is waited for at any time.
    fn fresh_id(&mut self) -> NonZeroU16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        NonZeroU16::new(self.last_id).unwrap_or(NonZeroU16::MIN)
    }
}
