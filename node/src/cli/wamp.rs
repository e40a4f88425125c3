//! `weir wamp`: call, register, publish and subscribe at any WAMP router.

mod client;
mod values;

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use weir_wire::wamp::message::{
    Call, CallOptions, Invocation, Invoke, Match, Message, MessageType, Publish, PublishOptions, Register,
    RegisterOptions, Subscribe, SubscribeOptions, Yield, YieldOptions,
};
use weir_wire::wamp::{Payload, Text};

use super::Failure;
use super::client::block_on;
use client::{Connection, Told};
use values::Values;

/// What `weir wamp` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Call a procedure and print its result; progress is printed as it comes.
    Call(CallArgs),
    /// Register a procedure and answer its calls, with their own arguments or with a value; calls are printed.
    Register(RegisterArgs),
    /// Publish an event.
    #[command(name = "pub")]
    Publish(PublishArgs),
    /// Subscribe and print events.
    #[command(name = "sub")]
    Subscribe(SubscribeArgs),
}

#[derive(Debug, clap::Args)]
struct CallArgs {
    /// The procedure's URI.
    procedure: String,
    #[command(flatten)]
    values: Values,
    /// Milliseconds after which the router ends the call; 0: as long as it lets calls take.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    call_timeout: u64,
    /// Ask for results in parts.
    #[arg(long)]
    progress: bool,
    /// Let the callee know who calls.
    #[arg(long)]
    disclose_me: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct RegisterArgs {
    /// The procedure's URI, or a pattern.
    procedure: String,
    /// What every call is answered with, as JSON; without it, its own arguments.
    #[arg(long, value_name = "JSON", value_parser = values::json)]
    result: Option<Value>,
    /// How the URI is matched.
    #[arg(long = "match", value_enum, default_value = "exact")]
    matching: Matching,
    /// Which of several callees is called.
    #[arg(long, value_enum, default_value = "single")]
    invoke: Invoking,
    /// Calls to be given at a time; 0: no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    concurrency: u64,
    /// Take the procedure from whoever has it.
    #[arg(long)]
    force: bool,
    /// End after so many calls; without it, with ctrl-C.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct PublishArgs {
    /// The topic's URI.
    topic: String,
    #[command(flatten)]
    values: Values,
    /// Wait until the router has taken it.
    #[arg(long)]
    acknowledge: bool,
    /// Keep it as the topic's last known value.
    #[arg(long)]
    retain: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct SubscribeArgs {
    /// The topic's URI, or a pattern.
    topic: String,
    /// How the URI is matched.
    #[arg(long = "match", value_enum, default_value = "exact")]
    matching: Matching,
    /// Print what is retained first.
    #[arg(long)]
    retained: bool,
    /// End after so many events; without it, with ctrl-C.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Matching {
    Exact,
    Prefix,
    Wildcard,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Invoking {
    Single,
    First,
    Last,
    Roundrobin,
    Random,
    /// The one with the fewest calls.
    Load,
}

impl From<Matching> for Match {
    fn from(matching: Matching) -> Match {
        match matching {
            Matching::Exact => Match::Exact,
            Matching::Prefix => Match::Prefix,
            Matching::Wildcard => Match::Wildcard,
        }
    }
}

impl From<Invoking> for Invoke {
    fn from(invoking: Invoking) -> Invoke {
        match invoking {
            Invoking::Single => Invoke::Single,
            Invoking::First => Invoke::First,
            Invoking::Last => Invoke::Last,
            Invoking::Roundrobin => Invoke::RoundRobin,
            Invoking::Random => Invoke::Random,
            Invoking::Load => Invoke::Load,
        }
    }
}

/// Does what was said and says goodbye.
pub fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        match &args.command {
            Command::Call(args) => call(args).await,
            Command::Register(args) => register(args).await,
            Command::Publish(args) => publish(args).await,
            Command::Subscribe(args) => subscribe(args).await,
        }
    })
}

async fn call(args: &CallArgs) -> Result<(), Failure> {
    let mut client = args.connection.open().await?;
    let request = client.next_request();
    let values = args.values.encoded();
    let options = CallOptions {
        receive_progress: args.progress,
        timeout: (args.call_timeout > 0).then_some(args.call_timeout),
        disclose_me: args.disclose_me,
        ..CallOptions::default()
    };
    let call = Call { request, options, procedure: Text::from(&*args.procedure), payload: values.payload() };
    client.say(&Message::Call(call)).await?;
    loop {
        let told = client.hear_about(MessageType::Call, request).await?;
        let more = told.is_progress();
        print(&told.payload())?;
        if !more {
            return client.leave().await;
        }
    }
}

async fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let mut client = args.connection.open().await?;
    let request = client.next_request();
    let options = RegisterOptions {
        match_policy: Some(args.matching.into()),
        invoke: Some(args.invoke.into()),
        concurrency: (args.concurrency > 0).then_some(args.concurrency),
        force_reregister: args.force,
        ..RegisterOptions::default()
    };
    let procedure = Text::from(&*args.procedure);
    client.say(&Message::Register(Register { request, options, procedure })).await?;
    client.hear_about(MessageType::Register, request).await?;
    eprintln!("weir: {} is registered; ctrl-C ends", args.procedure);
    let result = args.result.as_ref().map(|value| values::encoded(std::slice::from_ref(value), &[]));
    let mut left = args.count;
    while left != Some(0) {
        let told = client.hear().await?;
        let Message::Invocation(invocation) = told.message()? else { continue };
        let Invocation { request, payload, details, .. } = invocation;
        print(&json!({ "procedure": details.procedure, "call": values::told(&payload) }))?;
        let payload: Payload<'_> = result.as_ref().map_or(payload, values::Encoded::payload);
        let answer = Yield { request, options: YieldOptions::default(), payload };
        client.say(&Message::Yield(answer)).await?;
        left = left.map(|left| left - 1);
    }
    client.leave().await
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let mut client = args.connection.open().await?;
    let request = client.next_request();
    let values = args.values.encoded();
    let options =
        PublishOptions { acknowledge: args.acknowledge, retain: args.retain, ..PublishOptions::default() };
    let topic = Text::from(&*args.topic);
    client.say(&Message::Publish(Publish { request, options, topic, payload: values.payload() })).await?;
    if args.acknowledge {
        client.hear_about(MessageType::Publish, request).await?;
    }
    client.leave().await
}

async fn subscribe(args: &SubscribeArgs) -> Result<(), Failure> {
    let mut client = args.connection.open().await?;
    let request = client.next_request();
    let options = SubscribeOptions {
        match_policy: Some(args.matching.into()),
        get_retained: args.retained,
        ..SubscribeOptions::default()
    };
    let topic = Text::from(&*args.topic);
    client.say(&Message::Subscribe(Subscribe { request, options, topic })).await?;
    client.hear_about(MessageType::Subscribe, request).await?;
    let mut left = args.count;
    while left != Some(0) {
        let told = client.hear().await?;
        let Message::Event(event) = told.message()? else { continue };
        let topic = event.details.topic.as_deref().unwrap_or(&args.topic);
        print(&json!({ "topic": topic, "event": values::told(&event.payload) }))?;
        left = left.map(|left| left - 1);
    }
    client.leave().await
}

fn print(value: &Value) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{value}").context("cannot write to stdout")?;
    Ok(())
}

impl Told {
    /// Its arguments; of a call with one positional argument, that.
    fn payload(&self) -> Value {
        match self.message() {
            Ok(Message::Result(result)) => values::plain(&result.payload),
            _ => Value::Null,
        }
    }

    fn is_progress(&self) -> bool {
        matches!(self.message(), Ok(Message::Result(result)) if result.details.progress)
    }
}
