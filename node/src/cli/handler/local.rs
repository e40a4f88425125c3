//! `weir handler test`: a handler run on messages from a file, on this machine, under a server's limits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_model::{Properties, UnixMillis};
use weir_runtime::{Call, Event, Invocation, Limits, Runtime, Settings, Trial};

use super::super::Failure;
use super::super::admin::{block_on, say};

#[derive(Debug, clap::Args)]
pub struct Test {
    /// The program: a component, or a core module made with the SDK.
    file: PathBuf,
    /// Messages, one JSON object a line: `topic`, `payload` (text, or any JSON) or `payload_base64`, and if wanted `key`,
    /// `content_type`, `response_topic`, `user` (an object) and `published_at` (milliseconds since 1970).
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What is to come out, as this command prints it: it ends with 1 if something else does.
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Of a reducer: a message takes the place of the one before with the same key.
    #[arg(long)]
    changelog: bool,
    /// A value the handler finds under a name; as often as wanted.
    #[arg(long, value_name = "NAME=VALUE")]
    config: Vec<String>,
    /// Milliseconds of CPU time of one call.
    #[arg(long, value_name = "MS")]
    time: Option<u64>,
    /// Bytes of memory of the instance.
    #[arg(long, value_name = "BYTES")]
    memory: Option<usize>,
}

/// A line of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    topic: String,
    #[serde(default)]
    payload: Option<Value>,
    #[serde(default)]
    payload_base64: Option<String>,
    #[serde(default)]
    key: String,
    #[serde(default)]
    content_type: Option<Box<str>>,
    #[serde(default)]
    response_topic: Option<Box<str>>,
    #[serde(default)]
    user: Map<String, Value>,
    #[serde(default)]
    published_at: Option<u64>,
}

impl Line {
    fn payload(&self) -> Result<Vec<u8>, String> {
        match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => Err("it has `payload` and `payload_base64`".to_owned()),
            (Some(Value::String(text)), None) => Ok(text.clone().into_bytes()),
            (Some(value), None) => Ok(value.to_string().into_bytes()),
            (None, Some(text)) => BASE64.decode(text).map_err(|error| error.to_string()),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn properties(&self) -> Properties {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Properties {
            content_type: self.content_type.clone(),
            response_topic: self.response_topic.clone(),
            user: self.user.iter().map(|(name, value)| (name.as_str().into(), text(value).into())).collect(),
            ..Properties::default()
        }
    }
}

/// Runs it on every line; prints events (of a reducer the rows of its view that change, of middleware the message as it
/// lets it pass), and on stderr what the handler wrote and why calls failed.
pub fn test(args: &Test) -> Result<(), Failure> {
    let lines =
        std::fs::File::open(&args.input).with_context(|| format!("cannot read {}", args.input.display()))?;
    let program =
        std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let mut out = String::new();
    let failed = block_on(run(args, program, std::io::BufReader::new(lines), &mut out))?;
    say(&out)?;
    if let Some(golden) = &args.golden {
        let wanted =
            std::fs::read_to_string(golden).with_context(|| format!("cannot read {}", golden.display()))?;
        if let Some(text) = difference(&wanted, &out) {
            return Err(Failure::Failed(anyhow::anyhow!("{}: {text}", golden.display())));
        }
    } else if failed > 0 {
        return Err(Failure::Failed(anyhow::anyhow!("{failed} messages were not handled")));
    }
    Ok(())
}

async fn run(
    args: &Test,
    program: Vec<u8>,
    lines: impl std::io::BufRead,
    out: &mut String,
) -> Result<usize, Failure> {
    let runtime =
        Runtime::start(&weir_runtime::Config::default(), None).context("the runtime does not start")?;
    let refused = |error: weir_runtime::Refused| Failure::Usage(format!("{}: {error}", args.file.display()));
    let program = runtime.prepare(program.into()).await.map_err(refused)?;
    let mut limits = if program.is_large() { Limits::large() } else { Limits::default() };
    limits.time = args.time.map_or(limits.time, Duration::from_millis);
    limits.memory_bytes = args.memory.unwrap_or(limits.memory_bytes);
    let mut config = HashMap::new();
    for pair in &args.config {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::Usage(format!("--config {pair}: it has no `=`")))?;
        config.insert(name.into(), value.into());
    }
    let settings = Settings { limits, config: Arc::new(config) };
    let mut trial = Trial::new(&runtime, &program, settings, args.changelog);
    let mut failed = 0;
    for (at, text) in lines.lines().enumerate() {
        let text = text.context("cannot read the input")?;
        if text.trim().is_empty() {
            continue;
        }
        let bad = |problem: String| Failure::Usage(format!("{}:{}: {problem}", args.input.display(), at + 1));
        let line: Line = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let payload = line.payload().map_err(bad)?;
        let invocation = call(&mut trial, at, &line, &payload).await;
        failed += usize::from(tell(at + 1, &invocation, out));
    }
    Ok(failed)
}

async fn call(trial: &mut Trial, at: usize, line: &Line, payload: &[u8]) -> Invocation<Vec<Event>> {
    let properties = line.properties();
    let now = line.published_at.map_or_else(|| UnixMillis::from(SystemTime::now()), UnixMillis);
    let call = Call {
        topic: &line.topic,
        payload,
        key: line.key.as_bytes(),
        properties: (properties != Properties::default()).then_some(&properties),
        position: None,
        id: (0, at as u64),
        published_at: now,
        attempt: 1,
        now,
        is_deterministic: true,
    };
    trial.message(&call).await
}

/// Whether it failed.
fn tell(line: usize, invocation: &Invocation<Vec<Event>>, out: &mut String) -> bool {
    for written in &invocation.log {
        eprintln!("{line}: {:?}: {}", written.level, written.text);
    }
    match &invocation.result {
        Ok(events) => {
            for event in events {
                out.push_str(&format!("{}\n", told(event)));
            }
            false
        }
        Err(failure) => {
            eprintln!("{line}: {failure}");
            true
        }
    }
}

fn told(event: &Event) -> Value {
    let mut told = json!({ "topic": event.topic, "qos": event.qos as u8, "retain": event.retain });
    match std::str::from_utf8(&event.payload) {
        Ok(text) => told["payload"] = json!(text),
        Err(_) => told["payload_base64"] = json!(BASE64.encode(&event.payload)),
    }
    told
}

/// The first line that is another, if there is one.
fn difference(wanted: &str, found: &str) -> Option<String> {
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (wanted.next(), found.next()) {
            (None, None) => return None,
            (wanted, found) if wanted == found => {}
            (wanted, found) => {
                let text = |line: Option<&str>| line.unwrap_or("nothing").to_owned();
                return Some(format!("line {line}: {} was to come, {} came", text(wanted), text(found)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert!(difference("a\nb\n", "a\n").unwrap().contains("line 2: b was to come, nothing came"));
    }

    #[test]
    fn a_payload_is_text_json_or_base64() {
        let payload = |text: &str| serde_json::from_str::<Line>(text).unwrap().payload();
        assert_eq!(payload(r#"{"topic": "t", "payload": "a"}"#).unwrap(), b"a");
        assert_eq!(payload(r#"{"topic": "t", "payload": {"n": 1}}"#).unwrap(), br#"{"n":1}"#);
        assert_eq!(payload(r#"{"topic": "t", "payload_base64": "AP8="}"#).unwrap(), [0, 255]);
        assert!(payload(r#"{"topic": "t", "payload": 1, "payload_base64": ""}"#).is_err());
    }
}
