//! What a handler and a binding are, as their rows in the store's tables say it, in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::{Filter, UnixMillis};
use weir_runtime::{Digest, Limits, World};
use weir_store::Start;

use crate::stream::definition::{NAME_BYTES_MAX, SpecError, check_name};
use crate::stream::group::definition::{BACKOFF_STEPS_MAX, WAIT_MAX_MS};

/// Versions a handler keeps; beyond, the oldest that no alias and no binding names is let go.
pub const VERSIONS_MAX: usize = 50;
/// Aliases of a handler.
pub const ALIASES_MAX: usize = 20;
/// Versions that one alias shares its messages among.
pub const SHARES_MAX: usize = 4;
/// Filters of a live binding, and filters that a binding may publish to.
pub const FILTERS_MAX: usize = 64;
/// Values and secrets of a binding's configuration.
pub const CONFIG_MAX: usize = 100;
/// Calls of one binding on one node at a time.
pub const CONCURRENCY_MAX: u32 = 256;
/// CPU time of one call of middleware unless its binding says another: somebody waits for it.
pub const MIDDLEWARE_TIME: Duration = Duration::from_millis(10);
/// And the most it may say.
pub const MIDDLEWARE_TIME_MAX: Duration = Duration::from_secs(1);
/// The alias that a binding follows unless it says another.
pub const LIVE: &str = "live";

/// A handler's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handler {
    /// What all its versions are.
    pub world: Box<str>,
    /// Oldest first.
    pub versions: Vec<Version>,
    pub aliases: BTreeMap<Box<str>, Alias>,
}

/// An uploaded program. Never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Counts from 1 on.
    pub number: u32,
    /// Of the uploaded bytes, in hex.
    pub digest: Box<str>,
    pub bytes: u64,
    /// Under which its bytes lie; see [`super::chunks`].
    pub place: u64,
    pub uploaded_at: UnixMillis,
    /// Who did it, as the audit log names them.
    pub uploaded_by: Box<str>,
    pub is_large: bool,
}

/// A name for versions: which one counts, or which share of the keys goes to which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// Together 100 percent.
    pub shares: Vec<Share>,
    /// What it was before, for `rollback`.
    pub before: Vec<Share>,
    /// Above this share of failed calls, of at least [`Alias::guard_calls_min`], a node sets it back to what it was
    /// before. 0 = never.
    pub guard_percent: u8,
    pub guard_calls_min: u32,
    /// Raised by every change; failures before it do not count.
    pub since: UnixMillis,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub digest: Box<str>,
    pub percent: u8,
}

/// Which version a binding calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    Alias(Box<str>),
    Digest(Box<str>),
}

/// Where a binding's messages come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Publishes to these topics, on the node they enter, at most once.
    Live { filters: Vec<Filter> },
    /// Records of a stream, each effectively once.
    Stream { stream: Arc<str>, start: Start },
    /// None: it stands in the path of connections and messages, and is asked whether they go on.
    Middleware {
        /// Where it is asked; at least one.
        hooks: Vec<Hook>,
        /// Topics it is asked about; none = all. Who connects is asked about whatever these say.
        filters: Vec<Filter>,
        /// The lowest is asked first; of the same, the first by the bindings' names.
        order: i32,
        on_failure: OnFailure,
    },
}

impl Source {
    pub fn is_middleware(&self) -> bool {
        matches!(self, Source::Middleware { .. })
    }
}

/// Where middleware is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// After a client has proved who it is, before its connection is accepted.
    Connect,
    /// After the node's policies have allowed a publish to a topic, or a subscription.
    Authorize,
    /// Before a publish reaches anybody or any store.
    Publish,
    /// Before a message is sent to one receiver.
    Deliver,
}

/// What it means when middleware cannot be asked or does not answer: a trap, no answer in time, no free instance, no
/// program yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// As if it had said no.
    #[default]
    Refuse,
    /// As if it were not there.
    Pass,
}

/// How a reducer folds its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reduction {
    /// A record takes the place of the one before with the same key: what that gave goes again with weight -1, and an
    /// empty payload gives nothing.
    pub is_changelog: bool,
    /// What comes from each partition is reduced by itself, and then merged: the program says so.
    pub is_merging: bool,
    /// How often the states were built anew.
    pub run: u32,
}

/// A binding's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    pub handler: Arc<str>,
    pub which: Which,
    pub source: Source,
    /// Topics it may publish to.
    pub outputs: Vec<Filter>,
    /// Calls at a time on one node, from 1 to [`CONCURRENCY_MAX`]; of one key there is one.
    pub concurrency: u32,
    /// Messages of a live binding that wait on one node; more are dropped and counted.
    pub queue_max: u32,
    /// How often a record is tried before it is a dead letter. 0 = no limit.
    pub attempts_max: u32,
    /// Milliseconds before the n-th retry; the last one repeats.
    pub backoff_ms: Vec<u64>,
    /// The stream that what is given up goes to; `None` = it is counted and gone.
    pub dead_letter: Option<Arc<str>>,
    pub limits: Limits,
    pub config: BTreeMap<Box<str>, Box<str>>,
    /// Names under which the handler finds secrets, and the names of those.
    pub secrets: BTreeMap<Box<str>, Box<str>>,
    pub is_paused: bool,
    /// Of a reducer.
    pub reduction: Option<Reduction>,
    /// Called beside with every message; what it returns is compared and not published.
    pub shadow: Option<Which>,
    pub created_at: UnixMillis,
}

impl Default for Binding {
    fn default() -> Binding {
        Binding {
            handler: "".into(),
            which: Which::Alias(LIVE.into()),
            source: Source::Live { filters: Vec::new() },
            outputs: Vec::new(),
            concurrency: 4,
            queue_max: 10_000,
            attempts_max: 16,
            backoff_ms: vec![100, 1000, 10_000],
            dead_letter: None,
            limits: Limits::default(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            is_paused: false,
            reduction: None,
            shadow: None,
            created_at: UnixMillis(0),
        }
    }
}

/// Why a handler or a binding cannot be as asked. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error("`name` must have 1 to {NAME_BYTES_MAX} bytes")]
    NameLength,
    #[error("`name` must not begin with `$` and must not contain `/`, `+`, `#` or control characters")]
    NameCharacter,
    #[error("`{field}` = {given} is not from {least} to {most}")]
    Range { field: &'static str, given: u64, least: u64, most: u64 },
    #[error("`{field}` has {given} entries: {most} is the most")]
    TooMany { field: &'static str, given: usize, most: usize },
    #[error("`filters` is empty: a live binding needs topics")]
    NoFilters,
    #[error("`hooks` is empty: middleware has to be asked somewhere")]
    NoHooks,
    #[error("`{field}` means nothing for middleware: leave it out")]
    NotOfMiddleware { field: &'static str },
    #[error("`{field}` has a shared filter, which nobody shares here: `{filter}`")]
    SharedFilter { field: &'static str, filter: String },
    #[error("the shares of an alias are {given} percent together, not 100")]
    Shares { given: u32 },
    #[error("`{text}` is no digest: 64 hexadecimal digits are one")]
    Digest { text: String },
}

/// Whether a handler, a binding, an alias or a secret may be called that.
pub fn check_handler_name(name: &str) -> Result<(), DefinitionError> {
    check_name(name).map_err(|error| match error {
        SpecError::NameLength => DefinitionError::NameLength,
        _ => DefinitionError::NameCharacter,
    })
}

impl Handler {
    pub fn new(world: World) -> Handler {
        Handler { world: world.as_str().into(), versions: Vec::new(), aliases: BTreeMap::new() }
    }

    pub fn version(&self, digest: &str) -> Option<&Version> {
        self.versions.iter().find(|version| *version.digest == *digest)
    }

    /// The versions that a binding may call, each with its share of the keys.
    pub fn shares(&self, which: &Which) -> Vec<Share> {
        match which {
            Which::Alias(alias) => {
                self.aliases.get(alias).map(|alias| alias.shares.clone()).unwrap_or_default()
            }
            Which::Digest(digest) => vec![Share { digest: digest.clone(), percent: 100 }],
        }
    }

    /// The next number of a version.
    pub fn next_number(&self) -> u32 {
        self.versions.iter().map(|version| version.number).max().unwrap_or(0) + 1
    }

    /// Whether an alias names the version, now or before.
    pub fn is_named(&self, digest: &str) -> bool {
        let names = |shares: &[Share]| shares.iter().any(|share| *share.digest == *digest);
        self.aliases.values().any(|alias| names(&alias.shares) || names(&alias.before))
    }
}

impl Alias {
    /// All of it to one version.
    pub fn whole(digest: &str, at: UnixMillis) -> Alias {
        let shares = vec![Share { digest: digest.into(), percent: 100 }];
        Alias { shares, before: Vec::new(), guard_percent: 0, guard_calls_min: 0, since: at }
    }
}

/// Whether messages may be shared like this.
pub fn check_shares(shares: &[Share]) -> Result<(), DefinitionError> {
    most("shares", shares.len(), SHARES_MAX)?;
    let given = shares.iter().map(|share| u32::from(share.percent)).sum();
    if given != 100 {
        return Err(DefinitionError::Shares { given });
    }
    shares.iter().try_for_each(|share| digest_of(&share.digest).map(drop))
}

/// Reads a digest.
pub fn digest_of(text: &str) -> Result<Digest, DefinitionError> {
    text.parse().map_err(|_| DefinitionError::Digest { text: text.chars().take(80).collect() })
}

impl Binding {
    /// Whether a binding may be like this, and be called so.
    pub fn check(&self, name: &str) -> Result<(), DefinitionError> {
        check_handler_name(name)?;
        range("concurrency", self.concurrency.into(), 1, CONCURRENCY_MAX.into())?;
        range("queue_max", self.queue_max.into(), 1, 1_000_000)?;
        most("outputs", self.outputs.len(), FILTERS_MAX)?;
        most("backoff_ms", self.backoff_ms.len(), BACKOFF_STEPS_MAX)?;
        most("config", self.config.len() + self.secrets.len(), CONFIG_MAX)?;
        self.backoff_ms.iter().try_for_each(|step| range("backoff_ms", *step, 0, WAIT_MAX_MS))?;
        plain("outputs", &self.outputs)?;
        if let Source::Live { filters } | Source::Middleware { filters, .. } = &self.source {
            most("filters", filters.len(), FILTERS_MAX)?;
            plain("filters", filters)?;
        }
        match &self.source {
            Source::Live { filters } if filters.is_empty() => return Err(DefinitionError::NoFilters),
            Source::Middleware { hooks, .. } => self.check_middleware(hooks)?,
            Source::Live { .. } | Source::Stream { .. } => {}
        }
        let digests = [Some(&self.which), self.shadow.as_ref()];
        digests.into_iter().flatten().try_for_each(|which| match which {
            Which::Digest(digest) => digest_of(digest).map(drop),
            Which::Alias(alias) => check_handler_name(alias),
        })
    }
}

impl Binding {
    /// Middleware publishes nothing and nothing waits for it.
    fn check_middleware(&self, hooks: &[Hook]) -> Result<(), DefinitionError> {
        if hooks.is_empty() {
            return Err(DefinitionError::NoHooks);
        }
        let (time, most) = (self.limits.time.as_millis() as u64, MIDDLEWARE_TIME_MAX.as_millis() as u64);
        range("limits.time_ms", time, 1, most)?;
        let usual = Binding::default();
        let set = [
            ("outputs", self.outputs != usual.outputs),
            ("concurrency", self.concurrency != usual.concurrency),
            ("queue_max", self.queue_max != usual.queue_max),
            ("attempts_max", self.attempts_max != usual.attempts_max),
            ("backoff_ms", self.backoff_ms != usual.backoff_ms),
            ("dead_letter", self.dead_letter != usual.dead_letter),
            ("shadow", self.shadow != usual.shadow),
        ];
        match set.into_iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(DefinitionError::NotOfMiddleware { field }),
            None => Ok(()),
        }
    }
}

fn plain(field: &'static str, filters: &[Filter]) -> Result<(), DefinitionError> {
    match filters.iter().find(|filter| filter.share().is_some()) {
        Some(filter) => Err(DefinitionError::SharedFilter { field, filter: filter.as_str().to_owned() }),
        None => Ok(()),
    }
}

fn most(field: &'static str, given: usize, most: usize) -> Result<(), DefinitionError> {
    if given <= most { Ok(()) } else { Err(DefinitionError::TooMany { field, given, most }) }
}

fn range(field: &'static str, given: u64, least: u64, most: u64) -> Result<(), DefinitionError> {
    match (least..=most).contains(&given) {
        true => Ok(()),
        false => Err(DefinitionError::Range { field, given, least, most }),
    }
}
