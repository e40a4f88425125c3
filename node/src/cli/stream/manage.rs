//! `weir stream create|alter|delete|list`.

use std::time::Duration;

use serde_json::json;
use weir_admin::proto::{
    Stream, StreamKey, StreamKeyKind, StreamRetention, StreamSpec, StreamsAlterRequest, StreamsCreateRequest,
    StreamsDeleteRequest, StreamsListRequest,
};

use super::super::Failure;
use super::super::admin::{List as Table, refused, say, say_json, text};
use super::{Ask, told};

/// What a stream captures and keeps.
#[derive(Debug, clap::Args)]
pub struct Spec {
    /// Capture topics that match this filter; as often as wanted.
    #[arg(long, short = 'f', value_name = "FILTER")]
    filter: Vec<String>,
    /// Partitions; order is kept within one.
    #[arg(long, value_name = "COUNT")]
    partitions: Option<u32>,
    /// What order, partitions and compaction go by: `topic`, `none`, `client`, `property:NAME` or `json:/POINTER`.
    #[arg(long, value_name = "RULE", value_parser = key)]
    key: Option<StreamKey>,
    /// Keep so many records of each partition; 0 = no bound.
    #[arg(long, value_name = "COUNT")]
    records_max: Option<u64>,
    /// Keep so many bytes of each partition; 0 = no bound.
    #[arg(long, value_name = "BYTES")]
    bytes_max: Option<u64>,
    /// Keep records so long: `30m`, `7days`, .. ; `0s` = no bound.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    age_max: Option<Duration>,
    /// Whether of records with the same key only the last one is kept.
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    compacted: Option<bool>,
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The name of the stream.
    name: String,
    #[command(flatten)]
    spec: Spec,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Alter {
    /// The name of the stream.
    name: String,
    #[command(flatten)]
    spec: Spec,
    /// Capture nothing any more.
    #[arg(long, conflicts_with = "filter")]
    no_filters: bool,
    /// Only if the stream still has this version.
    #[arg(long, value_name = "VERSION", default_value_t = 0, hide_default_value = true)]
    if_version: u64,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The name of the stream.
    name: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only names that begin with this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Most streams; left out, all.
    #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    #[command(flatten)]
    ask: Ask,
}

/// A rule for keys.
fn key(text: &str) -> Result<StreamKey, String> {
    let (kind, name) = match text.split_once(':') {
        None if text == "topic" => (StreamKeyKind::Topic, ""),
        None if text == "none" => (StreamKeyKind::None, ""),
        None if text == "client" => (StreamKeyKind::Client, ""),
        Some(("property", name)) => (StreamKeyKind::UserProperty, name),
        Some(("json", pointer)) => (StreamKeyKind::JsonPointer, pointer),
        _ => return Err("it is `topic`, `none`, `client`, `property:NAME` or `json:/POINTER`".to_owned()),
    };
    Ok(StreamKey { kind: kind.into(), name: name.to_owned() })
}

impl Spec {
    /// What is said, and which fields that is.
    fn asked(&self) -> (StreamSpec, Vec<String>) {
        let age_max_ms = self.age_max.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let retention = StreamRetention {
            records_max: self.records_max.unwrap_or(0),
            bytes_max: self.bytes_max.unwrap_or(0),
            age_max_ms: age_max_ms.unwrap_or(0),
            compacted: self.compacted.unwrap_or(false),
        };
        let named = [
            ("filters", !self.filter.is_empty()),
            ("partitions", self.partitions.is_some()),
            ("key", self.key.is_some()),
            ("retention.records_max", self.records_max.is_some()),
            ("retention.bytes_max", self.bytes_max.is_some()),
            ("retention.age_max_ms", self.age_max.is_some()),
            ("retention.compacted", self.compacted.is_some()),
        ];
        let spec = StreamSpec {
            filters: self.filter.clone(),
            partitions: self.partitions.unwrap_or(0),
            key: self.key.clone(),
            retention: Some(retention),
        };
        (spec, named.iter().filter(|(_, said)| *said).map(|(name, _)| (*name).to_owned()).collect())
    }
}

pub async fn create(args: &Create) -> Result<(), Failure> {
    let (realm, name, spec) = (args.ask.realm.clone(), args.name.clone(), Some(args.spec.asked().0));
    let request = StreamsCreateRequest { realm, name, spec };
    let made = args.ask.server.connect().await?.streams().create(request).await.map_err(refused)?;
    tell("created", made.into_inner().stream, &args.ask)
}

pub async fn alter(args: &Alter) -> Result<(), Failure> {
    let (spec, mut paths) = args.spec.asked();
    if args.no_filters {
        paths.push("filters".to_owned());
    }
    if paths.is_empty() {
        return Err(Failure::Usage("nothing is to be altered: say what".to_owned()));
    }
    let request = StreamsAlterRequest {
        realm: args.ask.realm.clone(),
        name: args.name.clone(),
        spec: Some(spec),
        update_mask: Some(weir_admin::FieldMask { paths }),
        version: args.if_version,
    };
    let now = args.ask.server.connect().await?.streams().alter(request).await.map_err(refused)?;
    tell("altered", now.into_inner().stream, &args.ask)
}

pub async fn delete(args: &Delete) -> Result<(), Failure> {
    let (realm, name) = (args.ask.realm.clone(), args.name.clone());
    let request = StreamsDeleteRequest { realm, name };
    args.ask.server.connect().await?.streams().delete(request).await.map_err(refused)?;
    match args.ask.json {
        true => say_json(&json!({ "name": args.name, "deleted": true })),
        false => say(&format!("deleted: {}\n", text(&args.name))),
    }
}

pub async fn list(args: &List) -> Result<(), Failure> {
    let mut streams = args.ask.server.connect().await?.streams();
    let mut table = Table::begin(args.ask.json, &["name", "partitions", "key", "version", "filters"])?;
    let (mut page_token, mut left) = (String::new(), args.limit);
    while left > 0 {
        let request = StreamsListRequest {
            page_size: 0,
            page_token,
            realm: args.ask.realm.clone(),
            name_prefix: args.prefix.clone(),
        };
        let page = streams.list(request).await.map_err(refused)?.into_inner();
        let entries: Vec<_> =
            page.streams.iter().take(left).map(|one| (told::stream(one), cells(one))).collect();
        left -= entries.len();
        table.page(entries)?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    table.end().map(drop)
}

fn cells(stream: &Stream) -> Vec<String> {
    let spec = stream.spec.clone().unwrap_or_default();
    vec![
        stream.name.clone(),
        spec.partitions.to_string(),
        told::key(spec.key.as_ref()),
        stream.version.to_string(),
        spec.filters.join(" "),
    ]
}

fn tell(what: &str, stream: Option<Stream>, ask: &Ask) -> Result<(), Failure> {
    let stream = stream.unwrap_or_default();
    match ask.json {
        true => say_json(&told::stream(&stream)),
        false => say(&format!("{what}: {} (version {})\n", text(&stream.name), stream.version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_keys_is_printed_as_it_is_typed() {
        for rule in ["topic", "none", "client", "property:a:b", "json:/a/b", "json:"] {
            assert_eq!(told::key(Some(&key(rule).unwrap())), rule);
        }
        for bad in ["", "topics", "property", "user:x"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
