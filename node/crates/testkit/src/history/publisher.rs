//! A publisher that sends what was not acknowledged again, wherever it is (MQTT-4.4.0-1).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use weir_model::Qos;
use weir_wire::mqtt::{Ack, Packet, Publish, ReasonCode, Version, encode};

use super::connection::{Connection, Gone, parse};
use super::traffic::{self, CONTESTED, TOPICS};
use super::way::Way;
use super::{History, Stage};
use crate::Line;

/// Messages sent and not finished, of all lines.
const WINDOW: usize = 16;

pub struct Publisher {
    history: Arc<History>,
    way: Way,
    lines: Vec<Line>,
    turn: usize,
    last_packet_id: u16,
    /// Its connections so far.
    lives: u32,
    /// In the order sent.
    inflight: VecDeque<Sent>,
}

struct Sent {
    packet_id: NonZeroU16,
    line: Line,
    number: u64,
    /// PUBREC came: PUBREL is the next word.
    is_released: bool,
    is_repeated: bool,
}

impl Publisher {
    pub fn new(history: &Arc<History>, publisher: u32, home: usize) -> Publisher {
        let way = Way::new(history, &format!("publisher-{publisher}"), true, home);
        let line = |topic, qos| Line { publisher, topic, qos };
        let of_topic =
            |topic| [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce].map(|qos| line(topic, qos));
        let mut lines: Vec<Line> = (0..TOPICS).flat_map(of_topic).collect();
        lines.push(line(CONTESTED, Qos::AtLeastOnce));
        let history = history.clone();
        Publisher { history, way, lines, turn: 0, last_packet_id: 0, lives: 0, inflight: VecDeque::new() }
    }

    /// Publishes until it is enough and everything has been answered.
    pub fn run(mut self) {
        while !self.is_done()
            && let Some(mut connection) = self.way.connect()
        {
            self.lives += 1;
            let ended = self.resend(&mut connection).and_then(|()| self.publish(&mut connection));
            if let Err(gone) = ended {
                self.way.leave(&gone);
            }
        }
    }

    fn is_done(&self) -> bool {
        match self.history.stage() {
            Stage::Going => false,
            Stage::Enough => self.inflight.is_empty(),
            Stage::Over => true,
        }
    }

    fn resend(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        for sent in &mut self.inflight {
            sent.is_repeated = true;
            self.history.repeat(sent.line, sent.number);
            connection.send_bytes(&sent.frame(true))?;
        }
        Ok(())
    }

    fn publish(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        while !self.is_done() {
            let mut frames = Vec::new();
            while self.inflight.len() < WINDOW && self.history.stage() == Stage::Going {
                self.add_next(connection.node, &mut frames);
            }
            connection.send_bytes(&frames)?;
            if let Some(frame) = connection.receive()? {
                self.take(connection, &parse(&frame))?;
            }
        }
        Ok(())
    }

    /// A new message, of all lines in turn.
    fn add_next(&mut self, node: usize, frames: &mut Vec<u8>) {
        let line = self.lines[self.turn % self.lines.len()];
        self.turn += 1;
        let number = self.history.send(line, node, self.lives);
        let packet_id = self.packet_id();
        let sent = Sent { packet_id, line, number, is_released: false, is_repeated: false };
        frames.extend(sent.frame(false));
        if line.qos != Qos::AtMostOnce {
            self.inflight.push_back(sent);
        }
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

    fn take(&mut self, connection: &mut Connection, packet: &Packet<'_>) -> Result<(), Gone> {
        let (Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubcomp(ack)) = packet else {
            panic!("{packet:?} instead of an acknowledgement");
        };
        let Some(at) = self.inflight.iter().position(|sent| sent.packet_id == ack.packet_id) else {
            return Ok(());
        };
        let sent = &mut self.inflight[at];
        let is_refused = ack.code.as_u8() >= 0x80;
        if is_refused && !sent.is_released {
            self.history.refuse(sent.line, sent.number, !sent.is_repeated);
        } else if !sent.is_released {
            self.history.acknowledge(sent.line, sent.number, connection.node);
        }
        // A PUBREL that was heard before a death is unknown when it comes again (MQTT-3.7.2.1).
        if let Packet::Pubrec(_) = packet
            && !is_refused
        {
            sent.is_released = true;
            return connection.send_bytes(&sent.frame(false));
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
        let (topic, payload) = (traffic::topic(self.line), traffic::payload(self.line, self.number));
        let is_kept = self.line.qos != Qos::AtMostOnce;
        let publish = Publish {
            dup,
            qos: self.line.qos,
            retain: is_kept,
            packet_id: is_kept.then_some(self.packet_id),
            ..Publish::new(&topic, payload.as_bytes())
        };
        encode::publish(&mut frame, &publish, Version::V5);
        frame
    }
}
