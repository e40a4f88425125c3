//! Questions from node to node: what only the node that has a session can say or do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use weir_cluster::Link;

use super::abroad::Wish;
use super::listing::{Part, Place, Query, Whose};
use super::moving::{Order, Refusal as MoveRefusal, TOLD_WITHIN};
use super::{At, Details, EndError};
use crate::broker::Broker;

/// Kinds of notes between nodes; others pass these over.
const QUESTION: u32 = 0x5741_0001;
const ANSWER: u32 = 0x5741_0002;
/// Clients that were moved; a node that does not know it may move them again.
const MOVED: u32 = 0x5741_0003;
/// What has happened at a node that is watched.
pub(super) const EVENTS: u32 = 0x5741_0004;

/// How long another node may take to answer; a session that is deleted may take longest to go.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
const DELETE_WAIT: Duration = Duration::from_secs(7);
const MOVE_WAIT: Duration = Duration::from_secs(TOLD_WITHIN.as_secs() + 3);

/// Questions of all peers that are being answered at a time; further ones go without an answer, and the peer says
/// that this node does not answer.
const ANSWERING_MAX: usize = 64;

/// A node passes over what it does not know, and is counted as silent: new ones come last.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Question {
    List {
        query: Query,
        after: Option<Place>,
        max: u32,
    },
    Show {
        realm: Arc<str>,
        client_id: Arc<str>,
    },
    Kick {
        realm: Arc<str>,
        client_id: Arc<str>,
        reason: Arc<str>,
    },
    Delete {
        realm: Arc<str>,
        client_id: Arc<str>,
        reason: Arc<str>,
    },
    Drain,
    Count,
    Move(Order),
    Watch(Wish),
    /// What only a protocol understands.
    Protocol(Vec<u8>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Reply {
    Listed(Part),
    Shown(Option<Box<Details>>),
    Ended(Result<(), EndError>),
    /// Clients that are being sent away.
    Drains(u64),
    /// Sessions with a connection.
    Counted(u64),
    /// Clients that were told to go.
    Moved(Result<u32, MoveRefusal>),
    /// Whether what happens is told.
    Watched(bool),
    /// `None` = it is not understood.
    Protocol(Option<Vec<u8>>),
}

/// Questions that wait for their answers.
#[derive(Default)]
pub(super) struct Asks {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    answering: std::sync::atomic::AtomicUsize,
}

/// Forgets a question when nobody waits for its answer any more.
struct Waiting<'a> {
    asks: &'a Asks,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.asks.waiting.lock().remove(&self.number);
    }
}

/// Takes a note of a peer: a question to answer, or an answer.
pub(crate) fn heard(broker: &Broker, link: &Arc<Link>, kind: u32, body: &Bytes) {
    match kind {
        QUESTION => match postcard::from_bytes::<(u64, Question)>(body) {
            Ok((number, question)) => answer(broker, link, number, question),
            Err(error) => malformed(link, &error),
        },
        ANSWER => match postcard::from_bytes::<(u64, Reply)>(body) {
            Ok((number, reply)) => {
                let waits = broker.admin().asks.waiting.lock().remove(&number);
                // Who asked may have given up.
                let _ = waits.map(|waits| waits.send(reply));
            }
            Err(error) => malformed(link, &error),
        },
        MOVED | EVENTS => {
            let heard = match kind {
                MOVED => broker.heard_moved(body),
                _ => broker.heard_events(link, body),
            };
            heard.unwrap_or_else(|error| malformed(link, &error));
        }
        _ => {}
    }
}

fn malformed(link: &Link, error: &postcard::Error) {
    metrics::counter!("weir_broker_admin_notes_malformed_total").increment(1);
    tracing::debug!(node = link.node_id().as_str(), %error, "a question of another node cannot be read");
}

/// Answers beside whoever reads the link.
fn answer(broker: &Broker, link: &Arc<Link>, number: u64, question: Question) {
    let (broker, link) = (broker.clone(), link.clone());
    let answering = &broker.admin().asks.answering;
    if answering.fetch_add(1, Ordering::AcqRel) >= ANSWERING_MAX {
        answering.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    broker.runtime().clone().spawn(async move {
        let reply = match question {
            Question::Watch(wish) => Reply::Watched(broker.watch_for(&link, wish)),
            question => broker.reply_to(question).await,
        };
        broker.admin().asks.answering.fetch_sub(1, Ordering::AcqRel);
        if let Ok(body) = postcard::to_allocvec(&(number, reply)) {
            // A full link: whoever asked says that this node did not answer.
            let _ = link.note(ANSWER, body.into());
        }
    });
}

impl Broker {
    async fn reply_to(&self, question: Question) -> Reply {
        match question {
            Question::List { query, after, max } => {
                let broker = self.clone();
                let list = move || broker.list(&query, after.as_ref(), max as usize, Whose::Here);
                Reply::Listed(tokio::task::spawn_blocking(list).await.unwrap_or_default())
            }
            Question::Show { realm, client_id } => {
                let session = self.sessions().find(&realm, &client_id).filter(|session| session.is_online());
                Reply::Shown(session.map(|session| Box::new(Details::of(self, &session))))
            }
            Question::Kick { realm, client_id, reason } => {
                Reply::Ended(match self.sessions().find(&realm, &client_id) {
                    Some(session) if session.is_online() => {
                        self.kick_here(&session, &reason);
                        Ok(())
                    }
                    Some(_) => Err(EndError::Offline),
                    None => Err(EndError::Unknown),
                })
            }
            Question::Delete { realm, client_id, reason } => {
                Reply::Ended(match self.sessions().find(&realm, &client_id) {
                    Some(session) if session.is_online() => {
                        self.delete_here(&realm, &client_id, &reason).await
                    }
                    Some(_) => Err(EndError::Offline),
                    None => Err(EndError::Unknown),
                })
            }
            Question::Drain => {
                let connected = self.sessions().census().connected as u64;
                if let Some(drain) = self.admin().drain.get() {
                    drain();
                }
                Reply::Drains(connected)
            }
            Question::Count => Reply::Counted(self.sessions().census().connected as u64),
            Question::Move(order) => Reply::Moved(self.move_clients(order).await),
            // It goes on beyond the answer, over the link of whoever asks.
            Question::Watch(_) => Reply::Watched(false),
            Question::Protocol(question) => {
                let broker = self.clone();
                let answered = tokio::task::spawn_blocking(move || broker.answer_inquiry(&question));
                Reply::Protocol(answered.await.unwrap_or_default())
            }
        }
    }

    async fn ask(&self, link: &Arc<Link>, question: &Question, wait: Duration) -> Result<Reply, EndError> {
        let unreachable = || EndError::Unreachable { node: Arc::from(link.node_id().as_str()) };
        if !link.is_up() {
            return Err(unreachable());
        }
        let asks = &self.admin().asks;
        let number = asks.next.fetch_add(1, Ordering::Relaxed);
        let body = postcard::to_allocvec(&(number, question)).map_err(|_| unreachable())?;
        let (sender, receiver) = oneshot::channel();
        asks.waiting.lock().insert(number, sender);
        let _waiting = Waiting { asks, number };
        link.note(QUESTION, body.into()).map_err(|_| unreachable())?;
        let answered = tokio::time::timeout(wait, receiver).await;
        answered.map_err(|_| unreachable())?.map_err(|_| unreachable())
    }

    /// Whether a node tells what happens there, from now on or still.
    pub(super) async fn ask_to_watch(&self, link: &Arc<Link>, wish: Wish) -> bool {
        matches!(self.ask(link, &Question::Watch(wish), ANSWER_WAIT).await, Ok(Reply::Watched(true)))
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.peers().links().map(|links| links.all()).unwrap_or_default()
    }

    /// The links over which to ask for a session: to the node that has it, or, where nobody knows that, to all.
    fn links_to(&self, home: Option<u64>) -> Result<Vec<Arc<Link>>, EndError> {
        let Some(home) = home else { return Ok(self.links()) };
        let link = self.links().into_iter().find(|link| link.incarnation() == home);
        link.map(|link| vec![link]).ok_or_else(|| EndError::Unreachable { node: self.node_name(home) })
    }

    pub(super) async fn ask_to_list(
        &self,
        query: &Query,
        after: Option<&Place>,
        max: usize,
        node: Option<&str>,
    ) -> (Vec<Part>, Vec<Arc<str>>) {
        let is_wanted = |link: &Arc<Link>| node.is_none_or(|node| link.node_id().as_str() == node);
        let links: Vec<_> = self.links().into_iter().filter(is_wanted).collect();
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let question = Question::List { query: query.clone(), after: after.cloned(), max };
        let answers =
            join_all(links.iter().map(|link| self.ask(link, &question, ANSWER_WAIT))).await.into_iter();
        let (mut parts, mut missing) = (Vec::new(), Vec::new());
        for (link, answer) in links.iter().zip(answers) {
            let name: Arc<str> = Arc::from(link.node_id().as_str());
            match answer {
                Ok(Reply::Listed(mut part)) => {
                    part.sessions.iter_mut().for_each(|session| session.at = At::Node(name.clone()));
                    parts.push(part);
                }
                _ => missing.push(name),
            }
        }
        (parts, missing)
    }

    /// Asks nodes what only a protocol understands; `None` where none has answered.
    pub(super) async fn ask_protocol(
        &self,
        question: Vec<u8>,
        of: Option<&[Arc<str>]>,
    ) -> Vec<(Arc<str>, Option<Vec<u8>>)> {
        let is_wanted =
            |link: &Arc<Link>| of.is_none_or(|of| of.iter().any(|node| **node == *link.node_id().as_str()));
        let links: Vec<_> = self.links().into_iter().filter(is_wanted).collect();
        let question = Question::Protocol(question);
        let answers = join_all(links.iter().map(|link| self.ask(link, &question, ANSWER_WAIT))).await;
        let name = |link: &Arc<Link>| Arc::from(link.node_id().as_str());
        let said = |answer| match answer {
            Ok(Reply::Protocol(said)) => said,
            _ => None,
        };
        links.iter().map(name).zip(answers.into_iter().map(said)).collect()
    }

    pub(super) async fn ask_to_show(
        &self,
        realm: &Arc<str>,
        client_id: &Arc<str>,
        home: Option<u64>,
    ) -> Result<Details, EndError> {
        let question = Question::Show { realm: realm.clone(), client_id: client_id.clone() };
        let links = self.links_to(home)?;
        let answers = join_all(links.iter().map(|link| self.ask(link, &question, ANSWER_WAIT))).await;
        let mut error = EndError::Unknown;
        for (link, answer) in links.iter().zip(answers) {
            match answer {
                Ok(Reply::Shown(Some(mut details))) => {
                    details.info.at = At::Node(Arc::from(link.node_id().as_str()));
                    return Ok(*details);
                }
                Ok(_) => {}
                Err(unreachable) => error = unreachable,
            }
        }
        Err(error)
    }

    pub(super) async fn ask_to_kick(
        &self,
        realm: &Arc<str>,
        client_id: &Arc<str>,
        reason: &Arc<str>,
        home: Option<u64>,
    ) -> Result<At, EndError> {
        let (realm, client_id, reason) = (realm.clone(), client_id.clone(), reason.clone());
        self.ask_to_end(&Question::Kick { realm, client_id, reason }, home, ANSWER_WAIT).await
    }

    pub(super) async fn ask_to_delete(
        &self,
        realm: &Arc<str>,
        client_id: &Arc<str>,
        reason: &Arc<str>,
        home: Option<u64>,
    ) -> Result<(), EndError> {
        let (realm, client_id, reason) = (realm.clone(), client_id.clone(), reason.clone());
        self.ask_to_end(&Question::Delete { realm, client_id, reason }, home, DELETE_WAIT).await.map(drop)
    }

    /// The node that has the session does it; what the others say counts only when none has it.
    async fn ask_to_end(
        &self,
        question: &Question,
        home: Option<u64>,
        wait: Duration,
    ) -> Result<At, EndError> {
        let links = self.links_to(home)?;
        let answers = join_all(links.iter().map(|link| self.ask(link, question, wait))).await;
        let mut error = EndError::Unknown;
        for (link, answer) in links.iter().zip(answers) {
            match answer {
                Ok(Reply::Ended(Ok(()))) => return Ok(At::Node(Arc::from(link.node_id().as_str()))),
                Ok(Reply::Ended(Err(EndError::Unknown))) | Ok(_) if error != EndError::Unknown => {}
                Ok(Reply::Ended(Err(problem))) => error = problem,
                Ok(_) => {}
                Err(unreachable) => error = unreachable,
            }
        }
        Err(error)
    }

    /// Has another node drain; how many clients it sends away.
    ///
    /// # Errors
    /// [`EndError::Unknown`]: there is no link to a node of that name; [`EndError::Unreachable`].
    pub async fn drain_node(&self, node: &str) -> Result<u64, EndError> {
        let link = self.links().into_iter().find(|link| link.node_id().as_str() == node);
        match self.ask(&link.ok_or(EndError::Unknown)?, &Question::Drain, ANSWER_WAIT).await? {
            Reply::Drains(connected) => Ok(connected),
            _ => Err(EndError::Unreachable { node: Arc::from(node) }),
        }
    }

    /// How many clients a node has; `None` = this one.
    ///
    /// # Errors
    /// [`EndError::Unknown`]: there is no link to a node of that name; [`EndError::Unreachable`], also of a node that
    /// is too old to say.
    pub async fn count_clients(&self, node: Option<&str>) -> Result<u64, EndError> {
        match self.ask_node(node, Question::Count, ANSWER_WAIT).await? {
            Reply::Counted(connected) => Ok(connected),
            _ => Err(EndError::Unreachable { node: node.unwrap_or_default().into() }),
        }
    }

    /// Has a node send clients to another one, over [`TOLD_WITHIN`]; how many were told. `None` = this node. An order of
    /// no clients says that there is no further one.
    ///
    /// # Errors
    /// As [`Broker::count_clients`]; the inner one: the node does what another order says.
    pub async fn order_move(
        &self,
        node: Option<&str>,
        order: Order,
    ) -> Result<Result<u32, MoveRefusal>, EndError> {
        match self.ask_node(node, Question::Move(order), MOVE_WAIT).await? {
            Reply::Moved(moved) => Ok(moved),
            _ => Err(EndError::Unreachable { node: node.unwrap_or_default().into() }),
        }
    }

    async fn ask_node(
        &self,
        node: Option<&str>,
        question: Question,
        wait: Duration,
    ) -> Result<Reply, EndError> {
        let Some(node) = node else { return Ok(self.reply_to(question).await) };
        let link = self.links().into_iter().find(|link| link.node_id().as_str() == node);
        self.ask(&link.ok_or(EndError::Unknown)?, &question, wait).await
    }

    /// Tells every node of clients that were moved. One whose link is full may move them again.
    pub(super) fn tell_all_moved(&self, body: &Bytes) {
        for link in self.links() {
            let _ = link.note(MOVED, body.clone());
        }
    }
}
