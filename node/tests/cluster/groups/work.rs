//! Publishers and members of a group, at nodes that fail, until all is published and finished.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::client::{self, Client as Admin, Target};
use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::streams_consume_response::Response as Heard;
use weir_admin::proto::{ConsumeAck, ConsumeJoin, ConsumeNack, ConsumeRecord, StreamsConsumeRequest};
use weir_admin::tonic::{Status, Streaming};
use weir_testkit::{Cluster, PATIENCE};

use super::book::{Book, Id};
use super::{GROUP, STREAM, message, target};

/// Topics of each publisher; a topic is a key.
const TOPICS: u64 = 4;

/// Records that a member may hold: few, so that all members have some.
const IN_FLIGHT: u32 = 20;

/// Every so many records are given back once.
const NACKED: u64 = 23;

/// How long a node may take to answer somebody who comes to it; then they try the next.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// How long somebody waits who was turned away.
const AGAIN: Duration = Duration::from_millis(50);

/// Everybody at work.
pub struct Work {
    pub book: Arc<Book>,
    is_enough: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<()>>,
    members: Vec<JoinHandle<()>>,
}

impl Work {
    /// A publisher and a member at every node that runs.
    pub fn over(cluster: &Cluster) -> Work {
        let nodes: Arc<[Target]> = cluster.running().map(target).collect();
        let (book, is_enough) = (Arc::new(Book::new()), Arc::new(AtomicBool::new(false)));
        let homes = 0..nodes.len();
        let publisher = |home| tokio::spawn(publish(book.clone(), nodes.clone(), home, is_enough.clone()));
        let publishers = homes.clone().map(publisher).collect();
        let members = homes.map(|home| tokio::spawn(consume(book.clone(), nodes.clone(), home))).collect();
        Work { book, is_enough, publishers, members }
    }

    pub fn note(&self, what: impl std::fmt::Display) {
        self.book.note(what);
    }

    /// Waits until so many more records are finished.
    pub async fn wait_for(&self, more: usize) {
        let wanted = self.book.count() + more;
        self.until("more work to be done", || self.book.count() >= wanted).await;
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let waiting = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(2 * PATIENCE, waiting).await.is_err() {
            self.book.judge();
            panic!("waited in vain for {what}");
        }
    }

    /// Publishes no more, waits until all is finished, and looks whether every promise was kept.
    pub async fn kept_every_promise(self) -> Arc<Book> {
        self.note("enough");
        self.is_enough.store(true, Ordering::Release);
        self.until("publishers to end", || self.publishers.iter().all(JoinHandle::is_finished)).await;
        self.until("everything to be finished", || self.book.missing().is_empty()).await;
        self.book.judge();
        self.book.clone()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.publishers.iter().chain(&self.members).for_each(JoinHandle::abort);
    }
}

/// Publishes to each of its topics in turn; what was not acknowledged is published again, at the next node.
async fn publish(book: Arc<Book>, nodes: Arc<[Target]>, home: usize, is_enough: Arc<AtomicBool>) {
    let mut at = home;
    let mut admin = None;
    for number in 1.. {
        for topic in 0..TOPICS {
            let topic = format!("work/{home}/{topic}");
            while !is_published(&book, &nodes[at], &mut admin, &topic, number).await {
                (admin, at) = (None, (at + 1) % nodes.len());
                tokio::time::sleep(AGAIN).await;
            }
            book.published(&topic, number);
        }
        if is_enough.load(Ordering::Acquire) {
            return;
        }
    }
}

async fn is_published(
    book: &Book,
    node: &Target,
    admin: &mut Option<Admin>,
    topic: &str,
    number: u64,
) -> bool {
    let publishing = async {
        if admin.is_none() {
            *admin = Admin::connect(node).await.ok();
        }
        let mut streams = admin.as_ref()?.streams();
        match streams.publish(message(topic, number)).await {
            Ok(_) => Some(()),
            Err(status) => {
                book.note(format_args!("{topic} {number} is not published at {}: {status:?}", node.server));
                None
            }
        }
    };
    matches!(tokio::time::timeout(ANSWER_MAX, publishing).await, Ok(Some(())))
}

/// Joins at its home, and at the next node whenever it is ended.
async fn consume(book: Arc<Book>, nodes: Arc<[Target]>, home: usize) {
    for turn in home.. {
        let name = format!("member-{home}@{}", turn % nodes.len());
        match tokio::time::timeout(ANSWER_MAX, Member::join(&nodes[turn % nodes.len()], IN_FLIGHT)).await {
            Ok(Ok(mut member)) => {
                book.note(format_args!("{name} has joined"));
                let why = work(&book, &name, &mut member).await;
                book.ended(&name, &why);
            }
            Ok(Err(status)) => book.note(format_args!("{name} is not let in: {}", status.message())),
            Err(_) => book.note(format_args!("{name} gets no answer")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Finishes what it is given until the call ends; says why it did.
async fn work(book: &Book, name: &str, member: &mut Member) -> String {
    let mut tags: HashMap<u64, Vec<(Id, Vec<u8>)>> = HashMap::new();
    let ended = work_until_the_end(book, name, member, &mut tags).await;
    tags.into_values().flatten().for_each(|(id, _)| book.not_answered(name, id));
    ended
}

async fn work_until_the_end(
    book: &Book,
    name: &str,
    member: &mut Member,
    tags: &mut HashMap<u64, Vec<(Id, Vec<u8>)>>,
) -> String {
    for tag in 1.. {
        let heard = match member.hear().await {
            Ok(Some(heard)) => heard,
            Ok(None) => return "the call is over".to_owned(),
            Err(status) => return why(&status),
        };
        match heard {
            Heard::Records(records) => {
                let mut done = Vec::new();
                for record in &records.records {
                    let id = id(record);
                    book.given(name, id.clone(), record.deliveries);
                    if record.deliveries == 1 && id.1.is_multiple_of(NACKED) {
                        member.nack(record).await;
                    } else {
                        done.push((id, record.receipt.to_vec()));
                    }
                }
                let receipts = done.iter().map(|(_, receipt)| receipt.clone().into()).collect();
                member.say(Said::Ack(ConsumeAck { receipts, tag, sync: true })).await;
                tags.insert(tag, done);
            }
            Heard::Answer(answer) => {
                for (id, receipt) in tags.remove(&answer.tag).into_iter().flatten() {
                    match answer.refused.iter().find(|refused| refused.receipt[..] == receipt[..]) {
                        Some(refused) => book.refused(name, &id, &refused.reason),
                        None => book.finished(name, id),
                    }
                }
            }
            Heard::Taken(_) | Heard::Joined(_) => {}
        }
    }
    String::new()
}

/// One call of `Consume`.
pub struct Member {
    say: mpsc::Sender<StreamsConsumeRequest>,
    heard: Streaming<weir_admin::proto::StreamsConsumeResponse>,
    /// Came while an answer was waited for.
    waiting: Vec<ConsumeRecord>,
}

impl Member {
    pub async fn join(node: &Target, in_flight_max: u32) -> Result<Member, Status> {
        let admin = Admin::connect(node).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (say, said) = mpsc::channel(64);
        let heard = admin.streams().consume(ReceiverStream::new(said)).await?.into_inner();
        let mut member = Member { say, heard, waiting: Vec::new() };
        let (stream, group) = (STREAM.to_owned(), GROUP.to_owned());
        member.say(Said::Join(ConsumeJoin { stream, group, in_flight_max, ..Default::default() })).await;
        match member.hear().await? {
            Some(Heard::Joined(_)) => Ok(member),
            other => Err(Status::internal(format!("{other:?} instead of joined"))),
        }
    }

    /// A call that is over hears nothing; why it is over is heard next.
    pub async fn say(&mut self, said: Said) {
        let _ = self.say.send(StreamsConsumeRequest { request: Some(said) }).await;
    }

    async fn nack(&mut self, record: &ConsumeRecord) {
        let receipt = record.receipt.clone();
        self.say(Said::Nack(ConsumeNack { receipt, delay_ms: Some(0), ..Default::default() })).await;
    }

    pub async fn hear(&mut self) -> Result<Option<Heard>, Status> {
        Ok(self.heard.message().await?.and_then(|answer| answer.response))
    }

    /// Records that it is given next, one at least.
    pub async fn next(&mut self) -> Result<Vec<ConsumeRecord>, Status> {
        while self.waiting.is_empty() {
            match tokio::time::timeout(PATIENCE, self.hear()).await.expect("records come")? {
                Some(Heard::Records(more)) => self.waiting.extend(more.records),
                Some(_) => {}
                None => return Err(Status::cancelled("the call is over")),
            }
        }
        Ok(std::mem::take(&mut self.waiting))
    }

    /// So many records.
    pub async fn take(&mut self, count: usize) -> Vec<ConsumeRecord> {
        let mut records = Vec::new();
        while records.len() < count {
            records.extend(self.next().await.expect("the call lasts"));
        }
        assert_eq!(records.len(), count);
        records
    }

    /// Acknowledges and waits for the answer: the reasons of those that had no effect.
    pub async fn ack(&mut self, records: &[ConsumeRecord]) -> Result<Vec<String>, Status> {
        let receipts = records.iter().map(|record| record.receipt.clone()).collect();
        self.say(Said::Ack(ConsumeAck { receipts, tag: u64::MAX, sync: true })).await;
        loop {
            match tokio::time::timeout(PATIENCE, self.hear()).await.expect("an answer comes")? {
                Some(Heard::Answer(answer)) if answer.tag == u64::MAX => {
                    return Ok(answer.refused.into_iter().map(|refused| refused.reason).collect());
                }
                Some(Heard::Records(more)) => self.waiting.extend(more.records),
                Some(_) => {}
                None => return Err(Status::cancelled("the call is over")),
            }
        }
    }
}

/// The record, as its publisher numbers it.
pub fn id(record: &ConsumeRecord) -> Id {
    let record = record.record.as_ref().expect("a record");
    let payload = std::str::from_utf8(&record.payload).expect("text");
    (record.topic.clone(), payload.parse().expect("a number"))
}

/// The word for programs, or what stands in its place.
pub fn why(status: &Status) -> String {
    let detail = client::detail(status);
    match detail.reason.is_empty() {
        true => format!("{:?}", status.code()),
        false => format!("{:?} {}", status.code(), detail.reason),
    }
}
