//! `weir handler bind|bindings|binding|unbind|pause|resume|replay`.

use serde_json::{Value, json};
use weir_admin::proto::handler_binding_spec::Source;
use weir_admin::proto::{
    HandlerBinding, HandlerBindingSpec, HandlerLimits, HandlerStream, HandlerTopics, HandlersBindRequest,
    HandlersGetBindingRequest, HandlersListBindingsRequest, HandlersPauseRequest, HandlersReplayRequest,
    HandlersResumeRequest, HandlersUnbindRequest, StreamStart,
};

use super::super::Failure;
use super::super::admin::{List as Table, refused, say, say_json, text};
use super::super::stream::start;
use super::Ask;
use super::middleware::{self, Middleware};

/// Where messages come from.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// Handle publishes to topics that match this filter, at most once each; as often as wanted.
    #[arg(long, value_name = "FILTER", conflicts_with = "stream")]
    topic: Vec<String>,
    /// Handle the records of this stream, effectively once each, of one key in order.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Where in the stream to begin: `earliest`, `latest`, a position, or `time:..`.
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = start::parse)]
    from: StreamStart,
    /// For a reducer: a record takes the place of the one before with the same key.
    #[arg(long, requires = "stream")]
    changelog: bool,
    #[command(flatten)]
    middleware: Middleware,
}

impl SourceArgs {
    /// `None` = nothing is said.
    pub fn source(&self) -> Option<Source> {
        if let Some(middleware) = self.middleware.source() {
            return Some(Source::Middleware(middleware));
        }
        match &self.stream {
            Some(stream) => {
                let (stream, start) = (stream.clone(), Some(self.from.clone()));
                Some(Source::Stream(HandlerStream { stream, start, changelog: self.changelog }))
            }
            None if self.topic.is_empty() => None,
            None => Some(Source::Topics(HandlerTopics { filters: self.topic.clone() })),
        }
    }
}

/// How a handler is called.
#[derive(Debug, clap::Args)]
pub struct Settings {
    /// What it may publish to; as often as wanted.
    #[arg(long, value_name = "FILTER")]
    output: Vec<String>,
    /// The alias it follows.
    #[arg(long, value_name = "ALIAS", default_value = "live")]
    alias: String,
    /// The one version it calls, by its digest.
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
    digest: String,
    /// Calls at a time on one node; of one key there is one.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    concurrency: u32,
    /// How often a record is tried; 0 = no limit.
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// Milliseconds before the n-th retry; as often as wanted.
    #[arg(long, value_name = "MS")]
    backoff: Vec<u64>,
    /// The stream that records go to which are given up.
    #[arg(long, value_name = "STREAM", default_value = "", hide_default_value = true)]
    dead_letter: String,
    /// Milliseconds of CPU time of one call.
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
    time: u64,
    /// Bytes of memory of one instance.
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    memory: u64,
    /// A value it finds under a name; as often as wanted.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// A secret it finds under a name; as often as wanted.
    #[arg(long, value_name = "NAME=SECRET", value_parser = pair)]
    secret: Vec<(String, String)>,
    /// An alias whose version is called beside; what it returns is compared and not published.
    #[arg(long, value_name = "ALIAS", default_value = "", hide_default_value = true)]
    shadow: String,
}

impl Settings {
    pub fn spec(&self, handler: &str, source: Source) -> HandlerBindingSpec {
        let limits =
            HandlerLimits { time_ms: self.time, memory_bytes: self.memory, ..HandlerLimits::default() };
        HandlerBindingSpec {
            handler: handler.to_owned(),
            alias: self.alias.clone(),
            digest: self.digest.clone(),
            source: Some(source),
            outputs: self.output.clone(),
            concurrency: self.concurrency,
            queue_max: 0,
            attempts_max: self.attempts,
            backoff_ms: self.backoff.clone(),
            dead_letter: self.dead_letter.clone(),
            limits: Some(limits),
            config: self.config.iter().cloned().collect(),
            secrets: self.secret.iter().cloned().collect(),
            shadow: self.shadow.clone(),
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Bind {
    /// The binding's name.
    name: String,
    /// The handler.
    handler: String,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Show {
    /// The binding.
    name: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// The binding.
    name: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The binding.
    name: String,
    /// Where to go on: `earliest`, `latest`, a position, or `time:..`.
    #[arg(value_name = "PLACE", value_parser = start::parse)]
    from: StreamStart,
    #[command(flatten)]
    ask: Ask,
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub async fn bind(args: &Bind) -> Result<(), Failure> {
    let nothing = || Failure::Usage("say --topic FILTER, --stream NAME or --middleware HOOKS".to_owned());
    let source = args.source.source().ok_or_else(nothing)?;
    let spec = Some(args.settings.spec(&args.handler, source));
    let request = HandlersBindRequest { realm: args.ask.realm.clone(), name: args.name.clone(), spec };
    let answer = args.ask.server.connect().await?.handlers().bind(request).await.map_err(refused)?;
    let binding = answer.into_inner().binding.unwrap_or_default();
    if args.ask.json { say_json(&told(&binding)) } else { Ok(()) }
}

pub async fn list(args: &List) -> Result<(), Failure> {
    let mut table = Table::begin(args.ask.json, &["binding", "handler", "from", "state"])?;
    let mut handlers = args.ask.server.connect().await?.handlers();
    let mut page_token = String::new();
    loop {
        let request = HandlersListBindingsRequest { page_size: 0, page_token, realm: args.ask.realm.clone() };
        let page = handlers.list_bindings(request).await.map_err(refused)?.into_inner();
        let entry = |binding: &HandlerBinding| {
            let handler = binding.spec.as_ref().map(|spec| spec.handler.clone()).unwrap_or_default();
            let state = if binding.paused { "paused" } else { "on" };
            (told(binding), vec![binding.name.clone(), handler, from(binding), state.to_owned()])
        };
        table.page(page.bindings.iter().map(entry).collect())?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return table.end().map(drop);
        }
    }
}

pub async fn show(args: &Show) -> Result<(), Failure> {
    let request = HandlersGetBindingRequest { realm: args.ask.realm.clone(), name: args.name.clone() };
    let answer = args.ask.server.connect().await?.handlers().get_binding(request).await.map_err(refused)?;
    let found = answer.into_inner();
    let binding = found.binding.unwrap_or_default();
    let lag = found.group.as_ref().map(|group| group.lag);
    if args.ask.json {
        let mut value = told(&binding);
        value["calls"] = json!(found.calls);
        value["events"] = json!(found.events);
        value["dropped"] = json!(found.dropped);
        value["shadow_same"] = json!(found.shadow_same);
        value["shadow_differs"] = json!(found.shadow_differs);
        value["lag"] = json!(lag);
        value["reducing_lag"] = json!(found.reducing.as_ref().map(|group| group.lag));
        return say_json(&value);
    }
    let mut calls: Vec<_> = found.calls.iter().filter(|(_, count)| **count > 0).collect();
    calls.sort();
    let calls: Vec<_> = calls.into_iter().map(|(result, count)| format!("{result} {count}")).collect();
    let mut out = format!("{}: {}\n", text(&binding.name), from(&binding));
    out.push_str(&format!(
        "  calls here: {}\n",
        if calls.is_empty() { "none".to_owned() } else { calls.join(", ") }
    ));
    out.push_str(&format!("  events {}, dropped {}\n", found.events, found.dropped));
    if let Some(reducing) = &found.reducing {
        out.push_str(&format!("  mapped and not reduced {}\n", reducing.lag));
    }
    if let Some(lag) = lag {
        out.push_str(&format!("  lag {lag}\n"));
    }
    say(&out)
}

pub async fn unbind(args: &Named) -> Result<(), Failure> {
    let request = HandlersUnbindRequest { realm: args.ask.realm.clone(), name: args.name.clone() };
    args.ask.server.connect().await?.handlers().unbind(request).await.map_err(refused)?;
    Ok(())
}

pub async fn pause(args: &Named, is_paused: bool) -> Result<(), Failure> {
    let (realm, name) = (args.ask.realm.clone(), args.name.clone());
    let mut handlers = args.ask.server.connect().await?.handlers();
    match is_paused {
        true => drop(handlers.pause(HandlersPauseRequest { realm, name }).await.map_err(refused)?),
        false => drop(handlers.resume(HandlersResumeRequest { realm, name }).await.map_err(refused)?),
    }
    Ok(())
}

pub async fn replay(args: &Replay) -> Result<(), Failure> {
    let (realm, name) = (args.ask.realm.clone(), args.name.clone());
    let request = HandlersReplayRequest { realm, name, start: Some(args.from.clone()) };
    args.ask.server.connect().await?.handlers().replay(request).await.map_err(refused)?;
    Ok(())
}

/// Where a binding's messages come from, for people.
fn from(binding: &HandlerBinding) -> String {
    match binding.spec.as_ref().and_then(|spec| spec.source.as_ref()) {
        Some(Source::Topics(HandlerTopics { filters })) => text(&filters.join(" ")),
        Some(Source::Stream(HandlerStream { stream, .. })) => format!("stream {}", text(stream)),
        Some(Source::Middleware(found)) => text(&middleware::from(found)),
        None => String::new(),
    }
}

fn told(binding: &HandlerBinding) -> Value {
    let spec = binding.spec.clone().unwrap_or_default();
    let (topics, stream, changelog) = match &spec.source {
        Some(Source::Topics(HandlerTopics { filters })) => (json!(filters), Value::Null, false),
        Some(Source::Stream(HandlerStream { stream, changelog, .. })) => {
            (Value::Null, json!(stream), *changelog)
        }
        Some(Source::Middleware(_)) | None => (Value::Null, Value::Null, false),
    };
    let middleware = match &spec.source {
        Some(Source::Middleware(found)) => middleware::told(found),
        _ => Value::Null,
    };
    json!({
        "realm": binding.realm,
        "name": binding.name,
        "version": binding.version,
        "handler": spec.handler,
        "alias": spec.alias,
        "digest": spec.digest,
        "topics": topics,
        "stream": stream,
        "changelog": changelog,
        "middleware": middleware,
        "outputs": spec.outputs,
        "concurrency": spec.concurrency,
        "attempts_max": spec.attempts_max,
        "backoff_ms": spec.backoff_ms,
        "dead_letter": spec.dead_letter,
        "config": spec.config,
        "secrets": spec.secrets,
        "shadow": spec.shadow,
        "paused": binding.paused,
        "created_unix_ms": binding.created_unix_ms,
    })
}
