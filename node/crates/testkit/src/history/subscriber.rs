//! A subscriber: notes what it is given, and keeps its half of QoS 2 over all connections of its session.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use weir_model::Qos;
use weir_wire::mqtt::{Ack, Disconnect, Packet, Publish, ReasonCode};

use super::connection::{Connection, Gone, parse};
use super::traffic::{self, END, FILTER};
use super::way::Way;
use super::{Arrived, History, Promise, Stage};
use crate::Dice;

/// New messages taken before one that roams goes elsewhere.
const ROAM_AFTER: usize = 60;

/// What a subscriber is owed, and how it treats its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Its session is kept; it stays where it is as long as it can.
    Stays,
    /// Its session is kept; it goes to another node again and again: with goodbye, without, or while still here.
    Roams,
    /// Its session ends with its connection, which nothing in this test should end: it is owed everything too.
    Spared,
    /// Its session ends with its connection, and so does what it is owed.
    Clean,
}

pub struct Subscriber {
    history: Arc<History>,
    name: String,
    habit: Habit,
    way: Way,
    dice: Dice,
    /// QoS 2 packet ids between PUBLISH and PUBREL (MQTT-4.3.3-10).
    unreleased: HashSet<NonZeroU16>,
    /// Its connections so far; those of a clean session are receivers of their own.
    lives: u32,
    has_subscribed: bool,
}

impl Subscriber {
    /// One that has subscribed and gone offline, if its session is kept.
    pub fn new(history: &Arc<History>, name: &str, habit: Habit, home: usize) -> Subscriber {
        let kept = matches!(habit, Habit::Stays | Habit::Roams);
        let mut subscriber = Subscriber {
            history: history.clone(),
            name: name.to_owned(),
            habit,
            way: Way::new(history, name, kept, home),
            dice: Dice::of(home as u64),
            unreleased: HashSet::new(),
            lives: 0,
            has_subscribed: false,
        };
        if kept {
            while !subscriber.has_subscribed
                && let Some(mut connection) = subscriber.way.connect()
            {
                // Whoever does not answer is asked again at another node.
                let _ = subscriber.subscribe(&mut connection);
            }
        }
        if habit != Habit::Clean {
            history.expect(name);
        }
        subscriber
    }

    /// Reads, over as many connections as it takes, until all is over.
    pub fn run(mut self) {
        let mut connection = None;
        while !self.is_done() {
            let Some(mut present) = connection.take().or_else(|| self.way.connect()) else { return };
            self.lives += 1;
            match self.read(&mut present) {
                Ok(()) => connection = self.roam(present),
                Err(gone) => self.way.leave(&gone),
            }
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self.habit, Habit::Stays | Habit::Roams)
    }

    fn is_done(&self) -> bool {
        self.history.stage() == Stage::Over
    }

    fn subscribe(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        connection.ask_for(FILTER)?;
        self.has_subscribed = false;
        while !self.has_subscribed && self.history.stage() != Stage::Over {
            self.take_next(connection)?;
        }
        Ok(())
    }

    /// Reads until it is done, or has had enough of this node.
    fn read(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        if !self.is_kept() {
            self.unreleased.clear();
            self.history.forget_seen(&self.name);
            self.subscribe(connection)?;
            self.history.begin(&self.name);
        }
        let mut taken = 0;
        let enough = if self.habit == Habit::Roams { ROAM_AFTER } else { usize::MAX };
        while taken < enough && !self.is_done() {
            taken += usize::from(self.take_next(connection)?);
        }
        Ok(())
    }

    /// Goes elsewhere, in one of three ways.
    fn roam(&mut self, mut old: Connection) -> Option<Connection> {
        self.way.wander();
        match self.dice.below(3) {
            0 => drop(old),
            1 => {
                let _ = old.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
            }
            _ => {
                let taken_over = self.way.connect();
                drop(old);
                return taken_over;
            }
        }
        None
    }

    /// Whether it was a message that did not come before.
    fn take_next(&mut self, connection: &mut Connection) -> Result<bool, Gone> {
        let Some(frame) = connection.receive()? else { return Ok(false) };
        match parse(&frame) {
            Packet::Publish(publish) => {
                self.take(connection, &publish)?;
                return Ok(!publish.dup);
            }
            Packet::Pubrel(ack) => {
                self.unreleased.remove(&ack.packet_id);
                connection.send(&Packet::Pubcomp(Ack::new(ack.packet_id, ReasonCode::Success)))?;
            }
            Packet::Suback(suback) => {
                let code = suback.codes.iter().next().map_or(0x80, ReasonCode::as_u8);
                self.has_subscribed = code < 0x80;
                if !self.has_subscribed {
                    self.history.note(format!("{} is refused its subscription with {code:#04x}", self.name));
                    return Err(Gone::Closed);
                }
            }
            other => panic!("{} was sent {other:?}", self.name),
        }
        Ok(false)
    }

    fn take(&mut self, connection: &mut Connection, publish: &Publish<'_>) -> Result<(), Gone> {
        if publish.topic == END {
            self.history.end(&self.name);
        } else {
            self.note(connection.node, publish);
        }
        let Some(id) = publish.packet_id else { return Ok(()) };
        let ack = Ack::new(id, ReasonCode::Success);
        connection.send(&match publish.qos {
            Qos::ExactlyOnce => Packet::Pubrec(ack),
            _ => Packet::Puback(ack),
        })
    }

    fn note(&mut self, node: usize, publish: &Publish<'_>) {
        let text = String::from_utf8_lossy(publish.payload);
        let (line, number) = traffic::read(&text);
        let receiver = match self.habit {
            Habit::Clean => format!("{}#{}", self.name, self.lives),
            _ => self.name.clone(),
        };
        self.history.saw(&self.name, publish.topic, &text);
        let is_new = match publish.packet_id {
            Some(id) if publish.qos == Qos::ExactlyOnce => self.unreleased.insert(id),
            _ => true,
        };
        // A retained value is an old message that comes beside the new ones.
        if is_new && !publish.retain {
            let promise = match self.habit {
                Habit::Stays | Habit::Roams => Promise::Kept,
                Habit::Spared => Promise::Connected,
                Habit::Clean => Promise::None,
            };
            let arrived = Arrived { number, node, dup: publish.dup, life: self.lives };
            self.history.receive((&receiver, promise), line, arrived);
        }
    }
}
