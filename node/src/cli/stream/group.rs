//! `weir stream group`: groups of consumers.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use weir_admin::proto::{
    Group, GroupSpec, StreamStart, StreamsAlterGroupRequest, StreamsCreateGroupRequest,
    StreamsDeleteGroupRequest, StreamsListGroupsRequest, StreamsPauseGroupRequest,
    StreamsRedriveGroupRequest, StreamsResumeGroupRequest, StreamsSeekGroupRequest,
};

use super::super::Failure;
use super::super::admin::{List, refused, say, say_json, text};
use super::{Ask, start, told};

/// Records that are redriven by one call; between two of them it is said how far it is.
const REDRIVEN_AT_ONCE: u64 = 1000;

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a group. Making one that is there as asked does nothing.
    Create {
        #[command(flatten)]
        which: Which,
        /// Where it begins: `earliest`, `latest`, a position (EPOCH:MS-SEQ), or `time:..`.
        #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = start::parse)]
        from: StreamStart,
        #[command(flatten)]
        spec: Box<Spec>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Change how a group is served; what is not said stays.
    Alter {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        spec: Box<Spec>,
        /// Only if it has still this version, as `list --json` tells it.
        #[arg(long, value_name = "VERSION", default_value_t = 0, hide_default_value = true)]
        version: u64,
        #[command(flatten)]
        ask: Ask,
    },
    /// List the groups of a stream.
    List {
        /// The stream.
        stream: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// End a group and its place.
    Delete {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        ask: Ask,
    },
    /// Deliver nothing until it is resumed.
    Pause {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        ask: Ask,
    },
    /// Go on with a paused group.
    Resume {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        ask: Ask,
    },
    /// Move the place of a group.
    Seek {
        #[command(flatten)]
        which: Which,
        /// Where to: `earliest`, `latest`, a position (EPOCH:MS-SEQ), or `time:..`.
        #[arg(long, value_name = "PLACE", value_parser = start::parse)]
        to: StreamStart,
        #[command(flatten)]
        ask: Ask,
    },
    /// Publish what lies in a group's dead-letter stream again.
    Redrive {
        #[command(flatten)]
        which: Which,
        /// Most records; left out, all.
        #[arg(long, value_name = "COUNT", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
        /// Only records at this position of the dead-letter stream, or behind it.
        #[arg(long, value_name = "EPOCH:MS-SEQ", default_value = "")]
        from: String,
        /// Only records at this position of the dead-letter stream, or before it.
        #[arg(long, value_name = "EPOCH:MS-SEQ", default_value = "")]
        until: String,
        /// Also what other groups have put aside there.
        #[arg(long)]
        all_groups: bool,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// The stream.
    stream: String,
    /// The group.
    group: String,
}

/// How a group is served.
#[derive(Debug, clap::Args)]
pub struct Spec {
    /// How long a record may be with a member before it is given to another: `30s`, `5m`, ..
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ack_wait: Option<Duration>,
    /// How often a record is delivered before it is put aside; 0 = no limit.
    #[arg(long, value_name = "COUNT")]
    deliveries_max: Option<u32>,
    /// Records of a partition that may be with members at a time.
    #[arg(long, value_name = "COUNT")]
    ack_pending_max: Option<u32>,
    /// How long to wait before the first, second, .. redelivery; the last one repeats: `1s,10s,1m`.
    #[arg(long, value_name = "TIME,..", value_delimiter = ',', value_parser = humantime::parse_duration)]
    backoff: Vec<Duration>,
    /// The stream for records that were delivered too often.
    #[arg(long, value_name = "STREAM")]
    dead_letter: Option<String>,
    /// How long a member may hold records and move none; `0s` = for ever.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    lag_stall: Option<Duration>,
}

impl Spec {
    /// What is said, and which fields that is.
    fn asked(&self, start: Option<StreamStart>) -> (GroupSpec, Vec<String>) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let named = [
            ("ack_wait_ms", self.ack_wait.is_some()),
            ("deliveries_max", self.deliveries_max.is_some()),
            ("ack_pending_max", self.ack_pending_max.is_some()),
            ("backoff_ms", !self.backoff.is_empty()),
            ("dead_letter", self.dead_letter.is_some()),
            ("lag_stall_ms", self.lag_stall.is_some()),
        ];
        let spec = GroupSpec {
            start,
            ack_wait_ms: self.ack_wait.map(ms),
            deliveries_max: self.deliveries_max,
            ack_pending_max: self.ack_pending_max,
            backoff_ms: self.backoff.iter().copied().map(ms).collect(),
            dead_letter: self.dead_letter.clone().unwrap_or_default(),
            lag_stall_ms: self.lag_stall.map(ms),
        };
        (spec, named.iter().filter(|(_, said)| *said).map(|(name, _)| (*name).to_owned()).collect())
    }
}

/// Asks the node, and prints what it says.
pub async fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::Create { which, from, spec, ask } => {
            let Which { stream, group } = which;
            let request = StreamsCreateGroupRequest {
                realm: ask.realm.clone(),
                stream: stream.clone(),
                group: group.clone(),
                spec: Some(spec.asked(Some(from.clone())).0),
            };
            let made = ask.server.connect().await?.streams().create_group(request).await.map_err(refused)?;
            tell("created", made.into_inner().group, ask)
        }
        Action::Alter { which, spec, version, ask } => alter(which, spec, *version, ask).await,
        Action::List { stream, ask } => list(stream, ask).await,
        Action::Delete { which, ask } => {
            let (realm, stream, group) = named(which, ask);
            let request = StreamsDeleteGroupRequest { realm, stream, group };
            ask.server.connect().await?.streams().delete_group(request).await.map_err(refused)?;
            done("deleted", which, ask)
        }
        Action::Pause { which, ask } => {
            let (realm, stream, group) = named(which, ask);
            let request = StreamsPauseGroupRequest { realm, stream, group };
            let now = ask.server.connect().await?.streams().pause_group(request).await.map_err(refused)?;
            tell("paused", now.into_inner().group, ask)
        }
        Action::Resume { which, ask } => {
            let (realm, stream, group) = named(which, ask);
            let request = StreamsResumeGroupRequest { realm, stream, group };
            let now = ask.server.connect().await?.streams().resume_group(request).await.map_err(refused)?;
            tell("resumed", now.into_inner().group, ask)
        }
        Action::Seek { which, to, ask } => {
            let (realm, stream, group) = named(which, ask);
            let request = StreamsSeekGroupRequest { realm, stream, group, start: Some(to.clone()) };
            ask.server.connect().await?.streams().seek_group(request).await.map_err(refused)?;
            done("moved", which, ask)
        }
        Action::Redrive { which, limit, from, until, all_groups, ask } => {
            let (realm, stream, group) = named(which, ask);
            let (from_position, until_position, all_groups) = (from.clone(), until.clone(), *all_groups);
            let records_max = 0;
            let request = StreamsRedriveGroupRequest {
                realm,
                stream,
                group,
                records_max,
                from_position,
                until_position,
                all_groups,
            };
            redrive(request, *limit, ask).await
        }
    }
}

async fn alter(which: &Which, spec: &Spec, version: u64, ask: &Ask) -> Result<(), Failure> {
    let (spec, paths) = spec.asked(None);
    if paths.is_empty() {
        return Err(Failure::Usage("nothing is to be altered: say what".to_owned()));
    }
    let (realm, stream, group) = named(which, ask);
    let update_mask = Some(weir_admin::FieldMask { paths });
    let request = StreamsAlterGroupRequest { realm, stream, group, spec: Some(spec), update_mask, version };
    let now = ask.server.connect().await?.streams().alter_group(request).await.map_err(refused)?;
    tell("altered", now.into_inner().group, ask)
}

async fn list(stream: &str, ask: &Ask) -> Result<(), Failure> {
    let mut streams = ask.server.connect().await?.streams();
    let mut table = List::begin(ask.json, &["group", "paused", "dead letters"])?;
    let mut page_token = String::new();
    loop {
        let (realm, stream) = (ask.realm.clone(), stream.to_owned());
        let request = StreamsListGroupsRequest { page_size: 0, page_token, realm, stream };
        let page = streams.list_groups(request).await.map_err(refused)?.into_inner();
        let cells = |group: &Group| {
            let dead_letter = group.spec.clone().unwrap_or_default().dead_letter;
            let paused = if group.paused { "yes" } else { "no" };
            vec![group.name.clone(), paused.to_owned(), dead_letter]
        };
        table.page(page.groups.iter().map(|one| (told::group(one), cells(one))).collect())?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return table.end().map(drop);
        }
    }
}

async fn redrive(asked: StreamsRedriveGroupRequest, limit: u64, ask: &Ask) -> Result<(), Failure> {
    let mut streams = ask.server.connect_without_end().await?.streams();
    let (mut redriven, mut passed_over) = (0, 0);
    while redriven < limit {
        let records_max = REDRIVEN_AT_ONCE.min(limit - redriven);
        let request = StreamsRedriveGroupRequest { records_max, ..asked.clone() };
        let done = streams.redrive_group(request).await.map_err(refused)?.into_inner();
        redriven += done.redriven;
        passed_over = done.passed_over;
        if done.redriven < records_max {
            break;
        }
        eprintln!("weir: {redriven} published again so far");
    }
    match ask.json {
        true => say_json(&json!({ "redriven": redriven, "passed_over": passed_over })),
        false => say(&format!("published again: {redriven}, passed over: {passed_over}\n")),
    }
}

fn named(which: &Which, ask: &Ask) -> (String, String, String) {
    (ask.realm.clone(), which.stream.clone(), which.group.clone())
}

fn tell(what: &str, group: Option<Group>, ask: &Ask) -> Result<(), Failure> {
    let group = group.unwrap_or_default();
    match ask.json {
        true => say_json(&told::group(&group)),
        false => say(&format!("{what}: {} of {}\n", text(&group.name), text(&group.stream))),
    }
}

fn done(what: &str, which: &Which, ask: &Ask) -> Result<(), Failure> {
    match ask.json {
        true => say_json(&json!({ "stream": which.stream, "group": which.group, what: true })),
        false => say(&format!("{what}: {} of {}\n", text(&which.group), text(&which.stream))),
    }
}
