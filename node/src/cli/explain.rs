//! `weir explain`: asks a running node who would get what, by which rule.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use weir_bench::client::{Client, Message, Properties};
use weir_broker::explain::{self, Answer, Check, Group, Outcome, Pub, Request, Retained, Sub, Who};
use weir_model::Qos;

use super::Failure;
use super::client::{self, Connection, Protocol};

/// Where the answer comes; only this connection gets it.
const ANSWER_TOPIC: &str = "weir/explain/answer";

/// What `weir explain` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// What would become of a message: may it be published, is it kept, who gets it.
    #[command(name = "pub")]
    Publish {
        /// The topic.
        #[arg(long, short = 't')]
        topic: String,
        /// Ask for this client, as it was let in, instead of for yourself.
        #[arg(long = "as", value_name = "CLIENT_ID")]
        client: Option<String>,
        /// The message's QoS.
        #[arg(long, short = 'q', value_name = "0|1|2", default_value = "0", value_parser = client::qos)]
        qos: Qos,
        /// The message has RETAIN set.
        #[arg(long, short = 'r')]
        retain: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// What would become of a subscription: is it granted, which retained messages match.
    #[command(name = "sub")]
    Subscribe {
        /// The topic filter.
        #[arg(long, short = 't')]
        topic: String,
        /// Ask for this client, as it was let in, instead of for yourself.
        #[arg(long = "as", value_name = "CLIENT_ID")]
        client: Option<String>,
        /// The QoS asked for.
        #[arg(long, short = 'q', value_name = "0|1|2", default_value = "0", value_parser = client::qos)]
        qos: Qos,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Debug, clap::Args)]
struct Ask {
    /// Print the node's answer as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Asks once; exits with 1 when what is asked about would be refused.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (request, ask) = args.question.request();
    if ask.connection.protocol != Protocol::Five {
        return Err(Failure::Usage("explain speaks MQTT 5 only".to_owned()));
    }
    let payload = client::block_on(asked(&request, ask))?;
    let answer: Answer = serde_json::from_slice(&payload).context("the node's answer is not understood")?;
    let told = match ask.json {
        true => format!("{}\n", String::from_utf8_lossy(&payload)),
        false => tell(&answer),
    };
    std::io::stdout().write_all(told.as_bytes()).context("cannot write to stdout")?;
    match answer {
        Answer::Pub(answer) if answer.allowed => Ok(()),
        Answer::Sub(answer) if answer.allowed => Ok(()),
        Answer::Error { error } if !ask.json => Err(Failure::Failed(anyhow::anyhow!("{error}"))),
        _ => Err(Failure::Said),
    }
}

impl Question {
    fn request(&self) -> (Request, &Ask) {
        match self {
            Self::Publish { topic, client, qos, retain, ask } => {
                let (topic, client) = (topic.clone(), client.clone());
                (Request::Pub { topic, qos: *qos as u8, retain: *retain, client }, ask)
            }
            Self::Subscribe { topic, client, qos, ask } => {
                (Request::Sub { filter: topic.clone(), qos: *qos as u8, client: client.clone() }, ask)
            }
        }
    }
}

async fn asked(request: &Request, ask: &Ask) -> Result<Vec<u8>, Failure> {
    let payload = serde_json::to_vec(request).context("the question cannot be written")?;
    let mut client = ask.connection.open(&[]).await?;
    let correlation = std::process::id().to_be_bytes().to_vec();
    let message = Message {
        properties: Properties {
            response_topic: Some(ANSWER_TOPIC.to_owned()),
            correlation_data: Some(correlation.clone()),
            ..Properties::default()
        },
        ..Message::new(explain::TOPIC, payload, Qos::AtLeastOnce)
    };
    let patience = Duration::from_secs(ask.connection.timeout.max(1));
    client.publish(&message).await.map_err(client::failure)?;
    let late = |_| Failure::TimedOut("the node does not answer: does it know `weir explain`?".to_owned());
    let answer = tokio::time::timeout(patience, answer(&mut client, &correlation)).await.map_err(late)??;
    client.disconnect().await.map_err(client::failure)?;
    Ok(answer)
}

async fn answer(client: &mut Client, correlation: &[u8]) -> Result<Vec<u8>, Failure> {
    loop {
        let message = client.next().await.map_err(client::failure)?;
        let is_ours = message.properties.correlation_data.as_deref() == Some(correlation);
        if message.topic == ANSWER_TOPIC && is_ours {
            return Ok(message.payload);
        }
    }
}

/// An answer that came as JSON, for people.
pub fn tell_json(json: &str) -> Result<String, Failure> {
    let answer: Answer = serde_json::from_str(json).context("the node's answer is not understood")?;
    Ok(tell(&answer))
}

/// The answer for people.
fn tell(answer: &Answer) -> String {
    let mut out = String::new();
    match answer {
        Answer::Pub(answer) => tell_pub(&mut out, answer),
        Answer::Sub(answer) => tell_sub(&mut out, answer),
        Answer::Error { .. } => {}
    }
    out
}

fn tell_pub(out: &mut String, answer: &Pub) {
    let what = format!("publish {} at QoS {}{}", text(&answer.topic), answer.qos, retained(answer.retain));
    tell_verdict(out, &what, answer.allowed, &answer.rule, &answer.who, &answer.checks);
    if let Some(seconds) = answer.delay_seconds {
        let _ = writeln!(out, "  delayed    {seconds} seconds");
    }
    let retained = match answer.retained {
        Retained::Stored => "becomes the retained message (an empty one removes it)",
        Retained::Untouched => "stays as it is",
    };
    let _ = writeln!(out, "  retained   {retained}");
    let kept = if answer.kept { "stored before it is acknowledged" } else { "not stored" };
    let _ = writeln!(out, "  kept       {kept}");
    let (total, queued, denied) = (answer.receivers_total, answer.enqueued_total, answer.denied_total);
    let _ = writeln!(out, "  receivers  {total}, of them {queued} by their stored queue, {denied} denied");
    for receiver in &answer.receivers {
        let outcome = match receiver.outcome {
            Outcome::Sent => "sent",
            Outcome::Enqueued if receiver.online => "queued, sent",
            Outcome::Enqueued => "queued",
            Outcome::Offline => "lost: offline",
            Outcome::Denied => "denied",
            Outcome::NoLocal => "not sent: its own",
        };
        let filters: Vec<_> = receiver.filters.iter().map(|filter| text(filter)).collect();
        let _ = write!(
            out,
            "    {:<24} QoS {}  {outcome:<13} by {}",
            text(&receiver.client),
            receiver.qos,
            filters.join(" ")
        );
        let rule = receiver.rule.as_deref().map_or(String::new(), |rule| format!("  ({})", text(rule)));
        let _ = writeln!(out, "{rule}");
    }
    more(out, total, answer.receivers.len());
    answer.groups.iter().for_each(|group| tell_group(out, group));
    more(out, answer.groups_total, answer.groups.len());
    for stream in &answer.streams {
        let _ = writeln!(out, "  stream     {} captures it", text(stream));
    }
    more(out, answer.streams_total, answer.streams.len());
}

fn tell_sub(out: &mut String, answer: &Sub) {
    let what = format!("subscribe {} at QoS {}", text(&answer.filter), answer.qos);
    tell_verdict(out, &what, answer.allowed, &answer.rule, &answer.who, &answer.checks);
    if let Some(granted) = answer.qos_granted {
        let known = if answer.known { ", which it has already" } else { "" };
        let _ = writeln!(out, "  granted    QoS {granted}{known}");
    }
    let at_least = if answer.retained_more { "at least " } else { "" };
    let (total, denied) = (answer.retained_total, answer.retained_denied);
    let _ = writeln!(out, "  retained   {at_least}{total} match, {denied} more are denied");
    answer.group.iter().for_each(|group| tell_group(out, group));
}

fn tell_verdict(out: &mut String, what: &str, allowed: bool, rule: &str, who: &Who, checks: &[Check]) {
    let verdict = if allowed { "allowed" } else { "REFUSED" };
    let user =
        who.user.as_deref().map_or_else(|| "anonymous".to_owned(), |user| format!("user {}", text(user)));
    let _ = writeln!(out, "{verdict}: {what} as {} ({user})", text(&who.client));
    let _ = writeln!(out, "  rule       {}", text(rule));
    for check in checks {
        let state = if check.passed { "ok" } else { "FAILS" };
        let _ = writeln!(out, "  check      {} {state}: {}", check.what, text(&check.found));
    }
}

fn tell_group(out: &mut String, group: &Group) {
    let keeps = if group.keeps { ", waits in the store while nobody is there" } else { "" };
    let _ = writeln!(out, "  group      {}: one of {}{keeps}", text(&group.filter), group.members_total);
    for member in &group.members {
        let state = match (&member.denied, member.online) {
            (Some(rule), _) => format!("denied ({})", text(rule)),
            (None, false) => "offline".to_owned(),
            (None, true) => "may be picked".to_owned(),
        };
        let stored = if member.stored { ", persistent" } else { "" };
        let _ = writeln!(out, "    {:<24} {state}{stored}", text(&member.client));
    }
    more(out, group.members_total, group.members.len());
}

fn more(out: &mut String, total: usize, told: usize) {
    if total > told {
        let _ = writeln!(out, "    and {} more", total - told);
    }
}

fn retained(retain: bool) -> &'static str {
    if retain { ", retained" } else { "" }
}

/// A name from elsewhere, without what a terminal would obey.
fn text(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(text("a\u{1b}[2Jb\nö"), "a\\u{1b}[2Jb\\nö");
    }

    #[test]
    fn a_refused_subscription_says_so_first_and_by_which_rule() {
        let answer = Answer::Sub(Box::new(Sub {
            allowed: false,
            rule: "policy.toml rule 3 (line 12): deny subscribe secret/#".to_owned(),
            who: Who { client: "c".into(), user: None },
            filter: "#".to_owned(),
            qos: 1,
            qos_granted: None,
            checks: Vec::new(),
            known: false,
            retained_total: 0,
            retained_more: false,
            retained_denied: 0,
            group: None,
        }));
        let told = tell(&answer);
        assert!(told.starts_with("REFUSED: subscribe # at QoS 1 as c (anonymous)\n"), "{told}");
        assert!(told.contains("rule 3 (line 12)"), "{told}");
    }
}
