//! Consuming a stream in a group: records go out, acknowledgements come in, each in their time.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use weir_broker::stream::group::member::{Answers, Batch, Delivered, Ended, Member, MemberOptions, Receipt};
use weir_broker::stream::group::place::NotYours;

use super::super::watch::until_over;
use super::records::{self, receipt};
use super::{Place, Shared, define, realm_name};
use crate::caller::Caller;
use crate::error::Refused;
use crate::proto::streams_consume_request::Request as Asked;
use crate::proto::streams_consume_response::Response as Told;
use crate::proto::{
    ConsumeAck, ConsumeAnswer, ConsumeInProgress, ConsumeJoin, ConsumeJoined, ConsumeNack, ConsumeRecord,
    ConsumeRecords, ConsumeRefused, ConsumeTaken, StreamsConsumeRequest, StreamsConsumeResponse,
};

/// What a member says of itself.
const NAME_BYTES_MAX: usize = 255;
const IN_FLIGHT_DEFAULT: u32 = 1000;
const IN_FLIGHT_MAX: u32 = 10_000;
const IN_FLIGHT_BYTES_DEFAULT: u64 = 16 << 20;
const IN_FLIGHT_BYTES_MAX: u64 = 256 << 20;

/// Receipts of one acknowledgement.
const RECEIPTS_MAX: usize = 10_000;

/// Bytes of the records of one answer, unless one alone has more.
const ANSWER_BYTES_MAX: usize = 512 << 10;

/// Answers on their way to a member beside HTTP/2's own window; while it takes none nothing more is delivered to it.
const WAITING_MAX: usize = 4;

/// Acknowledgements that wait for the store; with so many nothing more is heard of the member.
const SYNCS_MAX: usize = 64;

type Answer = Result<StreamsConsumeResponse, Status>;
type Sender = mpsc::Sender<Answer>;

/// Makes the caller a member once it says of which group, and serves it.
pub fn consume(
    shared: Shared,
    caller: Caller,
    requests: Streaming<StreamsConsumeRequest>,
    place: Place,
) -> ReceiverStream<Answer> {
    let (sender, answers) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let served = async {
            if let Err(status) = serve(&shared, requests, &sender).await {
                // It has gone, or hears why it was.
                let _ = sender.send(Err(status)).await;
            }
        };
        until_over(&shared, &caller, &sender, served).await;
    });
    ReceiverStream::new(answers)
}

async fn serve(
    shared: &Shared,
    mut requests: Streaming<StreamsConsumeRequest>,
    sender: &Sender,
) -> Result<(), Status> {
    let mut member = match requests.message().await? {
        None => return Ok(()),
        Some(StreamsConsumeRequest { request: Some(Asked::Join(asked)) }) => join(shared, asked).await?,
        Some(_) => {
            return Err(Refused::field("join", "it does not come first", "join, then acknowledge").into());
        }
    };
    let joined = ConsumeJoined { node_id: shared.machine.name().to_owned() };
    if !tell(sender, Told::Joined(joined)).await {
        return Ok(());
    }
    let answers = member.answers();
    let mut syncs = FuturesUnordered::new();
    loop {
        tokio::select! {
            request = requests.message(), if syncs.len() < SYNCS_MAX => match request? {
                // It has said all it wanted to.
                None => break,
                Some(StreamsConsumeRequest { request }) => match hear(&answers, request)? {
                    Heard::Silent => {}
                    Heard::Answered(answer) => {
                        if !tell(sender, Told::Answer(answer)).await {
                            return Ok(());
                        }
                    }
                    Heard::Waits(sync) => syncs.push(sync),
                },
            },
            Some(answer) = syncs.next() => {
                if !tell(sender, Told::Answer(answer)).await {
                    return Ok(());
                }
            }
            batch = next(&mut member, sender) => {
                let Some(batch) = batch else { return Ok(()) };
                if !deliver(sender, batch.map_err(Refused::from)?).await {
                    return Ok(());
                }
            }
        }
    }
    while let Some(answer) = syncs.next().await {
        if !tell(sender, Told::Answer(answer)).await {
            return Ok(());
        }
    }
    member.close().await;
    Ok(())
}

/// Joins the group.
async fn join(shared: &Shared, asked: ConsumeJoin) -> Result<Member, Refused> {
    define::name("join.stream", &asked.stream)?;
    define::name("join.group", &asked.group)?;
    if asked.name.len() > NAME_BYTES_MAX {
        let hint = format!("at most {NAME_BYTES_MAX} bytes");
        return Err(Refused::field("join.name", "it is too long", hint));
    }
    let within = |field, asked, default, max: u64| match asked {
        0 => Ok(default),
        asked if asked <= max => Ok(asked),
        _ => Err(Refused::field(field, "it is too large", format!("0 to {max}"))),
    };
    let in_flight = within(
        "join.in_flight_max",
        asked.in_flight_max.into(),
        IN_FLIGHT_DEFAULT.into(),
        IN_FLIGHT_MAX.into(),
    )?;
    let bytes = asked.in_flight_bytes_max;
    let options = MemberOptions {
        name: asked.name.into(),
        in_flight_max: u32::try_from(in_flight).unwrap_or(IN_FLIGHT_MAX),
        bytes_max: within("join.in_flight_bytes_max", bytes, IN_FLIGHT_BYTES_DEFAULT, IN_FLIGHT_BYTES_MAX)?,
    };
    let realm = realm_name(&asked.realm);
    Ok(shared.broker.join_group(&realm, &asked.stream, &asked.group, options).await?)
}

/// What there is for a member, once it can be told; `None` = it has gone.
async fn next(member: &mut Member, sender: &Sender) -> Option<Result<Batch, Ended>> {
    let _room = sender.reserve().await.ok()?;
    Some(member.next().await)
}

/// What became of something that a member said.
enum Heard {
    /// Done, and nobody asked.
    Silent,
    Answered(ConsumeAnswer),
    /// Told when the store has it.
    Waits(BoxFuture<'static, ConsumeAnswer>),
}

/// Does what a member says.
fn hear(answers: &Answers, asked: Option<Asked>) -> Result<Heard, Refused> {
    let Some(asked) = asked else {
        return Err(Refused::field("request", "it says nothing", "ack, nack or in_progress"));
    };
    let (tag, refused) = match asked {
        Asked::Join(_) => return Err(Refused::field("join", "it has joined", "one call for each member")),
        Asked::Ack(ConsumeAck { receipts, tag, sync }) => {
            if receipts.len() > RECEIPTS_MAX {
                let hint = format!("at most {RECEIPTS_MAX}");
                return Err(Refused::field("ack.receipts", format!("{} are too many", receipts.len()), hint));
            }
            let mut good = Vec::with_capacity(receipts.len());
            let mut refused = Vec::new();
            for told in receipts {
                match receipt::read(&told) {
                    Some(receipt) => good.push(receipt),
                    None => refused.push(malformed(told)),
                }
            }
            if sync {
                let answers = answers.clone();
                return Ok(Heard::Waits(Box::pin(async move {
                    refused.extend(
                        answers.ack_sync(&good).await.into_iter().map(|one| not_yours(one.receipt, one.why)),
                    );
                    ConsumeAnswer { tag, refused }
                })));
            }
            refused.extend(answers.ack(&good).into_iter().map(|one| not_yours(one.receipt, one.why)));
            (tag, refused)
        }
        Asked::Nack(ConsumeNack { receipt: told, delay_ms, tag }) => match receipt::read(&told) {
            Some(receipt) => (tag, one(answers.nack(receipt, delay_ms.map(Duration::from_millis)))),
            None => (tag, vec![malformed(told)]),
        },
        Asked::InProgress(ConsumeInProgress { receipt: told, tag }) => match receipt::read(&told) {
            Some(receipt) => (tag, one(answers.in_progress(receipt))),
            None => (tag, vec![malformed(told)]),
        },
    };
    match tag != 0 || !refused.is_empty() {
        true => Ok(Heard::Answered(ConsumeAnswer { tag, refused })),
        false => Ok(Heard::Silent),
    }
}

fn one(done: Result<(), weir_broker::stream::group::member::Refused>) -> Vec<ConsumeRefused> {
    done.err().map(|refused| not_yours(refused.receipt, refused.why)).into_iter().collect()
}

fn not_yours(receipt: Receipt, why: NotYours) -> ConsumeRefused {
    let reason = match why {
        NotYours::Finished => "finished",
        NotYours::TakenBack => "taken_back",
        NotYours::Others => "others",
        NotYours::Elsewhere => "elsewhere",
        NotYours::CutOff => "cut_off",
    };
    ConsumeRefused { receipt: receipt::told(receipt), reason: reason.to_owned(), message: why.to_string() }
}

fn malformed(told: prost::bytes::Bytes) -> ConsumeRefused {
    let message = "it was delivered to nobody".to_owned();
    ConsumeRefused { receipt: told, reason: "malformed".to_owned(), message }
}

/// Tells of records, as many as fit at a time; false = the member has gone.
async fn deliver(sender: &Sender, batch: Batch) -> bool {
    if !batch.taken.is_empty() {
        let receipts = batch.taken.into_iter().map(receipt::told).collect();
        if !tell(sender, Told::Taken(ConsumeTaken { receipts })).await {
            return false;
        }
    }
    let (mut bytes, mut records) = (0, Vec::new());
    for delivered in batch.records {
        let record = told(delivered);
        let more = record.encoded_len();
        if !records.is_empty() && bytes + more > ANSWER_BYTES_MAX {
            let full = ConsumeRecords { records: std::mem::take(&mut records) };
            bytes = 0;
            if !tell(sender, Told::Records(full)).await {
                return false;
            }
        }
        bytes += more;
        records.push(record);
    }
    records.is_empty() || tell(sender, Told::Records(ConsumeRecords { records })).await
}

fn told(delivered: Delivered) -> ConsumeRecord {
    let Delivered { receipt: name, record, deliveries, .. } = delivered;
    let record = records::told(name.partition, record);
    ConsumeRecord { receipt: receipt::told(name), deliveries, record: Some(record) }
}

async fn tell(sender: &Sender, told: Told) -> bool {
    sender.send(Ok(StreamsConsumeResponse { response: Some(told) })).await.is_ok()
}

impl From<Ended> for Refused {
    fn from(ended: Ended) -> Self {
        let message = ended.to_string();
        match ended {
            Ended::GroupDeleted => Self::not_found("join.group", message),
            Ended::StreamDeleted => Self::not_found("join.stream", message),
            Ended::LeaseLost | Ended::ShuttingDown => Self::new(Code::Unavailable, "not_here", message),
            Ended::Superseded => Self::new(Code::Aborted, "superseded", message),
            Ended::Stalled => Self::new(Code::Aborted, "stalled", message),
            Ended::Left => Self::new(Code::Aborted, "left", message),
        }
    }
}
