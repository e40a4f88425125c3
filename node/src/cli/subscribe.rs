//! `weir sub`: subscribe at any MQTT broker and print what arrives.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use weir_bench::client::{Client, Incoming, Properties, Subscription};
use weir_model::Qos;
use weir_wire::mqtt::{RetainHandling, SubscribeOptions};

use super::Failure;
use super::client::{self, Connection};
use crate::shutdown::Signals;

/// What `weir sub` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A filter, `+` for one level and `#` for all below; as often as wanted.
    #[arg(long, short = 't', value_name = "FILTER", required = true)]
    topic: Vec<String>,
    /// The highest QoS wanted.
    #[arg(long, short = 'q', value_name = "0|1|2", default_value = "0", value_parser = client::qos)]
    qos: Qos,
    /// End after this many messages.
    #[arg(long, short = 'C', value_name = "N")]
    count: Option<u64>,
    /// End after this many seconds; with --count, fewer messages are a failure (exit code 5).
    #[arg(long, short = 'W', value_name = "SECONDS")]
    wait: Option<u64>,
    /// Print the topic before each payload.
    #[arg(long, short = 'v')]
    verbose: bool,
    /// Print one JSON object for each message.
    #[arg(long)]
    json: bool,
    /// Leave out what was retained before.
    #[arg(long, short = 'R')]
    no_retained: bool,
    /// Leave out what this connection itself publishes.
    #[arg(long)]
    no_local: bool,
    /// Show the retain flag as the publisher set it.
    #[arg(long)]
    retain_as_published: bool,
    /// A number that comes back with each message of these filters.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=268_435_455))]
    subscription_id: Option<u32>,
    /// A user property of the connection, name=value; as often as wanted.
    #[arg(long, value_name = "NAME=VALUE", value_parser = client::property)]
    property: Vec<(String, String)>,
    #[command(flatten)]
    connection: Connection,
}

/// Why printing ended.
enum End {
    Counted,
    TimeOver,
    Told,
    /// Nobody reads stdout any more, as `head` does.
    NobodyReads,
}

/// Prints until the count, the time, a signal or the reader ends it, and says goodbye.
pub fn run(args: &Args) -> Result<(), Failure> {
    client::block_on(subscribe(args))
}

async fn subscribe(args: &Args) -> Result<(), Failure> {
    let mut signals = Signals::listen().context("signals cannot be heard")?;
    let mut client = args.connection.open(&args.property).await?;
    let wanted: Vec<_> = args.topic.iter().map(|filter| args.subscription(filter)).collect();
    let codes = client.subscribe(&wanted, args.subscription_id).await.map_err(client::failure)?;
    for (filter, code) in args.topic.iter().zip(codes) {
        if code.is_error() {
            let said =
                format!("the broker refused the subscription to {filter}: {code:?} (0x{:02x})", code.as_u8());
            return Err(Failure::Refused(said));
        }
    }
    let mut printed = 0;
    let end = tokio::select! {
        end = print(args, &mut client, &mut printed) => end?,
        _ = signals.next() => End::Told,
        () = time_over(args.wait) => End::TimeOver,
    };
    client.disconnect().await.map_err(client::failure)?;
    match (end, args.count) {
        (End::TimeOver, Some(count)) => {
            let said = format!("{printed} of {count} messages in {} seconds", args.wait.unwrap_or_default());
            Err(Failure::TimedOut(said))
        }
        _ => Ok(()),
    }
}

async fn time_over(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep_until(Instant::now() + Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

async fn print(args: &Args, client: &mut Client, printed: &mut u64) -> Result<End, Failure> {
    while args.count.is_none_or(|count| *printed < count) {
        let message = client.next().await.map_err(client::failure)?;
        match write(args, &message, &mut io::stdout().lock()) {
            Ok(()) => *printed += 1,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::NobodyReads),
            Err(error) => return Err(anyhow::Error::new(error).context("cannot write to stdout").into()),
        }
    }
    Ok(End::Counted)
}

fn write(args: &Args, message: &Incoming, out: &mut impl Write) -> io::Result<()> {
    if args.json {
        return writeln!(out, "{}", to_json(message));
    }
    if args.verbose {
        write!(out, "{} ", message.topic)?;
    }
    out.write_all(&message.payload)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// One object with what the message has; properties it does not have are left out.
fn to_json(message: &Incoming) -> Value {
    let mut object = Map::new();
    let (name, payload) = client::payload(&message.payload);
    object.insert("topic".into(), json!(message.topic));
    object.insert(name.into(), payload);
    object.insert("qos".into(), json!(message.qos as u8));
    object.insert("retain".into(), json!(message.retain));
    object.insert("dup".into(), json!(message.dup));
    if let Some(id) = message.packet_id {
        object.insert("packet_id".into(), json!(id.get()));
    }
    if !message.subscription_ids.is_empty() {
        object.insert("subscription_ids".into(), json!(message.subscription_ids));
    }
    properties_to_json(&message.properties, &mut object);
    Value::Object(object)
}

fn properties_to_json(properties: &Properties, object: &mut Map<String, Value>) {
    if let Some(seconds) = properties.expiry_seconds {
        object.insert("expiry".into(), json!(seconds));
    }
    if let Some(content_type) = &properties.content_type {
        object.insert("content_type".into(), json!(content_type));
    }
    if let Some(topic) = &properties.response_topic {
        object.insert("response_topic".into(), json!(topic));
    }
    if let Some(bytes) = &properties.correlation_data {
        let (name, value) = client::payload(bytes);
        object.insert(name.replace("payload", "correlation"), value);
    }
    if !properties.user.is_empty() {
        // A list of pairs: a name may come twice, and their order counts (MQTT-3.3.2-18).
        object.insert("properties".into(), json!(properties.user));
    }
}

impl Args {
    fn subscription(&self, filter: &str) -> Subscription {
        let handling = if self.no_retained { RetainHandling::DoNotSend } else { RetainHandling::Send };
        let options = SubscribeOptions {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: handling,
        };
        Subscription { filter: filter.to_owned(), options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Incoming {
        Incoming {
            topic: "a/b".into(),
            payload: b"hi".to_vec(),
            qos: Qos::AtMostOnce,
            retain: true,
            dup: false,
            packet_id: None,
            properties: Properties::default(),
            subscription_ids: Vec::new(),
        }
    }

    #[test]
    fn what_a_message_does_not_have_is_left_out() {
        let told = json!({"topic": "a/b", "payload": "hi", "qos": 0, "retain": true, "dup": false});
        assert_eq!(to_json(&message()), told);
    }

    #[test]
    fn user_properties_keep_their_order_and_may_repeat() {
        let mut message = message();
        message.properties.user = vec![("b".into(), "1".into()), ("b".into(), "2".into())];
        message.properties.correlation_data = Some(vec![0xff]);
        let told = to_json(&message);
        assert_eq!(told["properties"], json!([["b", "1"], ["b", "2"]]));
        assert_eq!(told["correlation_base64"], json!("/w=="));
    }
}
