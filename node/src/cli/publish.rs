//! `weir pub`: publish to any MQTT broker.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde_json::json;
use weir_bench::client::{Acknowledgement, Client, Message, Properties};
use weir_broker::publish::level::PROPERTY;
use weir_model::{Level, Qos};

use super::Failure;
use super::client::{self, Connection};
use super::payload::Payload;

/// What `weir pub` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topic.
    #[arg(long, short = 't')]
    topic: String,
    #[command(flatten)]
    payload: Payload,
    /// 0: at most once, 1: at least once, 2: exactly once.
    #[arg(long, short = 'q', value_name = "0|1|2", default_value = "0", value_parser = client::qos)]
    qos: Qos,
    /// Keep it as the topic's last known value.
    #[arg(long, short = 'r')]
    retain: bool,
    /// Publish the same this many times.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "stdin")]
    repeat: u64,
    /// A user property of the message, name=value; as often as wanted.
    #[arg(long, value_name = "NAME=VALUE", value_parser = client::property)]
    property: Vec<(String, String)>,
    /// The content type of the message.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Seconds after which the message is worth nothing.
    #[arg(long, value_name = "SECONDS")]
    expiry: Option<u32>,
    /// Where an answer is expected.
    #[arg(long, value_name = "TOPIC")]
    response_topic: Option<String>,
    /// What an answer must carry.
    #[arg(long, value_name = "TEXT")]
    correlation: Option<String>,
    /// What the acknowledgement is to survive (Weir only, MQTT 5, QoS 1 or 2): stored, fsynced, replicated:N or
    /// replicated:all.
    #[arg(long, value_name = "LEVEL")]
    ack_level: Option<Level>,
    /// Print one JSON object for each message published.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Publishes all there is and says goodbye.
pub fn run(args: &Args) -> Result<(), Failure> {
    client::block_on(publish(args))
}

async fn publish(args: &Args) -> Result<(), Failure> {
    // Read before anybody is called: a missing file should not cost a connection.
    let whole = args.payload.read()?;
    let mut client = args.connection.open(&[]).await?;
    match whole {
        Some(payload) => {
            let message = args.to_message(payload);
            for _ in 0..args.repeat {
                one(args, &mut client, &message).await?;
            }
        }
        None => lines(args, &mut client).await?,
    }
    client.disconnect().await.map_err(client::failure)
}

async fn one(args: &Args, client: &mut Client, message: &Message) -> Result<(), Failure> {
    let answer = client.publish(message).await.map_err(client::failure)?;
    if args.json {
        let told = told(message, answer.as_ref());
        writeln!(std::io::stdout(), "{told}").context("cannot write to stdout")?;
    }
    Ok(())
}

/// Every line of stdin, without its end. Reading blocks, which hurts nobody: nothing else is going on.
async fn lines(args: &Args, client: &mut Client) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        eprintln!("weir: each line is a message; ctrl-D ends");
    }
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line.context("cannot read stdin")?;
        one(args, client, &args.to_message(line)).await?;
    }
    Ok(())
}

impl Args {
    /// The user property that asks for the acknowledgement level.
    fn level(&self) -> Option<(String, String)> {
        self.ack_level.map(|level| (PROPERTY.to_owned(), level.to_string()))
    }

    fn to_message(&self, payload: Vec<u8>) -> Message {
        Message {
            topic: self.topic.clone(),
            payload,
            qos: self.qos,
            retain: self.retain,
            properties: Properties {
                expiry_seconds: self.expiry,
                content_type: self.content_type.clone(),
                response_topic: self.response_topic.clone(),
                correlation_data: self.correlation.clone().map(String::into_bytes),
                user: self.property.iter().cloned().chain(self.level()).collect(),
                ..Properties::default()
            },
        }
    }
}

fn told(message: &Message, answer: Option<&Acknowledgement>) -> serde_json::Value {
    json!({
        "topic": message.topic,
        "bytes": message.payload.len(),
        "qos": message.qos as u8,
        "retain": message.retain,
        "packet_id": answer.map(|ack| ack.packet_id.get()),
        "reason_code": answer.map(|ack| ack.code.as_u8()),
        "reason": answer.and_then(|ack| ack.reason.as_deref()),
    })
}
