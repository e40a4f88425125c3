//! `weir stream publish`: publish with QoS 1, and hear where it is kept.

use std::io::BufRead as _;

use anyhow::Context as _;
use serde_json::json;
use weir_admin::proto::{StreamsPublishRequest, StreamsPublishResponse, UserProperty};

use super::super::Failure;
use super::super::admin::{refused, say, say_json};
use super::super::client;
use super::super::payload::Payload;
use super::Ask;

#[derive(Debug, clap::Args)]
pub struct Publish {
    /// The topic.
    #[arg(long, short = 't')]
    topic: String,
    #[command(flatten)]
    payload: Payload,
    /// Keep it as the topic's last known value.
    #[arg(long, short = 'r')]
    retain: bool,
    /// Publishing again with the same key does nothing again.
    #[arg(long, value_name = "KEY", default_value = "", conflicts_with = "stdin")]
    idempotency_key: String,
    /// What the answer is to survive: stored, fsynced, replicated:N or replicated:all.
    #[arg(long, value_name = "LEVEL", default_value = "")]
    ack_level: String,
    /// A user property of the message, name=value; as often as wanted.
    #[arg(long, value_name = "NAME=VALUE", value_parser = client::property)]
    property: Vec<(String, String)>,
    /// The content type of the message.
    #[arg(long, value_name = "TYPE", default_value = "")]
    content_type: String,
    /// Seconds after which the message is worth nothing.
    #[arg(long, value_name = "SECONDS")]
    expiry: Option<u32>,
    #[command(flatten)]
    ask: Ask,
}

/// Publishes all there is, one after the other.
pub async fn publish(args: &Publish) -> Result<(), Failure> {
    // Read before anybody is called: a missing file should not cost a connection.
    let whole = args.payload.read()?;
    let mut streams = args.ask.server.connect().await?.streams();
    if let Some(payload) = whole {
        let done = streams.publish(args.request(payload)).await.map_err(refused)?;
        return tell(args, &done.into_inner());
    }
    for line in std::io::stdin().lock().split(b'\n') {
        let payload = line.context("cannot read stdin")?;
        let done = streams.publish(args.request(payload)).await.map_err(refused)?;
        tell(args, &done.into_inner())?;
    }
    Ok(())
}

impl Publish {
    fn request(&self, payload: Vec<u8>) -> StreamsPublishRequest {
        let property =
            |(name, value): &(String, String)| UserProperty { name: name.clone(), value: value.clone() };
        StreamsPublishRequest {
            realm: self.ask.realm.clone(),
            topic: self.topic.clone(),
            payload: payload.into(),
            retain: self.retain,
            expiry_seconds: self.expiry,
            content_type: self.content_type.clone(),
            user_properties: self.property.iter().map(property).collect(),
            idempotency_key: self.idempotency_key.clone(),
            ack_level: self.ack_level.clone(),
            ..StreamsPublishRequest::default()
        }
    }
}

fn tell(args: &Publish, done: &StreamsPublishResponse) -> Result<(), Failure> {
    let StreamsPublishResponse { position, matched, deduplicated, ack_level } = done;
    if args.ask.json {
        return say_json(&json!({
            "position": position,
            "matched": matched,
            "deduplicated": deduplicated,
            "ack_level": ack_level,
        }));
    }
    let place = if position.is_empty() { "kept by nobody" } else { position };
    let again = if *deduplicated { ", was there before" } else { "" };
    let wanted = if *matched { "" } else { ", nobody wants it" };
    let level = if ack_level.is_empty() { String::new() } else { format!(", {ack_level}") };
    say(&format!("published: {place}{again}{wanted}{level}\n"))
}
