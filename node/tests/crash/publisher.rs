//! A publisher that sends what was not acknowledged again, as the standard asks (MQTT-4.4.0-1).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use weir_model::Qos;
use weir_testkit::Line;
use weir_wire::mqtt::{Ack, Packet, Publish, ReasonCode, Version, encode};

use super::client::{Client, Gone, parse};
use super::traffic::{self, Shared};

/// Messages sent and not finished, of both lines.
const WINDOW: usize = 16;

pub struct Publisher {
    shared: Arc<Shared>,
    id: u32,
    last_packet_id: u16,
    /// In the order sent.
    inflight: VecDeque<Sent>,
    turn: usize,
    /// Whether the last message of each line has been sent.
    ended: [bool; 2],
}

struct Sent {
    packet_id: NonZeroU16,
    line: Line,
    number: u64,
    payload: String,
    /// PUBREC came: PUBREL is the next word.
    is_released: bool,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>, id: u32) -> Publisher {
        Publisher { shared, id, last_packet_id: 0, inflight: VecDeque::new(), turn: 0, ended: [false; 2] }
    }

    /// Publishes until it is enough and everything has been acknowledged.
    pub fn run(mut self) {
        let mut was_here = false;
        while !self.is_done() {
            let mut client = self.shared.connect(&format!("publisher-{}", self.id));
            assert!(client.session_present || !was_here, "the session of publisher {} is lost", self.id);
            was_here = true;
            if self.resend(&mut client).is_ok() {
                // The next connection goes on where this one ended.
                let _ = self.publish(&mut client);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ended == [true; 2] && self.inflight.is_empty()
    }

    fn resend(&self, client: &mut Client) -> Result<(), Gone> {
        self.inflight.iter().try_for_each(|sent| client.send_bytes(&sent.frame(true)))
    }

    fn publish(&mut self, client: &mut Client) -> Result<(), Gone> {
        while !self.is_done() {
            let mut frames = Vec::new();
            while self.inflight.len() < WINDOW
                && let Some(sent) = self.next()
            {
                frames.extend(sent.frame(false));
                self.inflight.push_back(sent);
            }
            client.send_bytes(&frames)?;
            let frame = client.receive()?;
            self.take(client, &parse(&frame))?;
        }
        Ok(())
    }

    /// A new message, of the two lines in turn.
    fn next(&mut self) -> Option<Sent> {
        let is_last = self.shared.is_enough();
        if self.ended == [true; 2] {
            return None;
        }
        self.turn = (self.turn + 1) % 2;
        if self.ended[self.turn] {
            self.turn = (self.turn + 1) % 2;
        }
        self.ended[self.turn] = is_last;
        let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce][self.turn];
        let line = Line { publisher: self.id, topic: 0, qos };
        let number = self.shared.checker().send(line);
        let payload = traffic::payload(number, is_last);
        Some(Sent { packet_id: self.packet_id(), line, number, payload, is_released: false })
    }

    fn packet_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.last_packet_id)
                && self.inflight.iter().all(|sent| sent.packet_id != id)
            {
                return id;
            }
        }
    }

    fn take(&mut self, client: &mut Client, packet: &Packet<'_>) -> Result<(), Gone> {
        let (Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubcomp(ack)) = packet else {
            // Its goodbye.
            assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?} instead of an acknowledgement");
            return Err(Gone);
        };
        // A PUBREL that was heard before the death is unknown when it comes again (MQTT-3.7.2.1).
        let is_known = !matches!(packet, Packet::Pubcomp(_));
        assert!(ack.code.as_u8() < 0x80 || !is_known, "publisher {} is refused: {packet:?}", self.id);
        let Some(at) = self.inflight.iter().position(|sent| sent.packet_id == ack.packet_id) else {
            return Ok(());
        };
        let sent = &mut self.inflight[at];
        if !sent.is_released {
            self.shared.checker().acknowledge(sent.line, sent.number);
        }
        if let Packet::Pubrec(_) = packet {
            sent.is_released = true;
            return client.send_bytes(&sent.frame(false));
        }
        self.inflight.remove(at);
        Ok(())
    }
}

impl Sent {
    /// What is to be said about it now.
    fn frame(&self, dup: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        if self.is_released {
            let release = Ack::new(self.packet_id, ReasonCode::Success);
            encode::pubrel(&mut frame, &release, Version::V5);
            return frame;
        }
        let topic = traffic::topic(self.line);
        let publish = Publish {
            dup,
            qos: self.line.qos,
            retain: true,
            packet_id: Some(self.packet_id),
            ..Publish::new(&topic, self.payload.as_bytes())
        };
        encode::publish(&mut frame, &publish, Version::V5);
        frame
    }
}
