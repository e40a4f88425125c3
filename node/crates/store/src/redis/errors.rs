//! What an error of Redis means for what was asked: certainly not done or perhaps done, and what to do next.

use metrics::counter;
use redis::RedisError;

/// Every kind that has a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The library is not there: a new primary, or `FUNCTION FLUSH`.
    NoFunction,
    /// The slot lies elsewhere.
    Moved,
    /// The slot is on its way elsewhere, and what was asked for is there already or nowhere.
    Asked,
    /// A primary that has become a replica.
    ReadOnly,
    /// It reads its files back.
    Loading,
    /// `maxmemory` is reached.
    OutOfMemory,
    /// A script of somebody runs for too long.
    Busy,
    MasterDown,
    ClusterDown,
    /// The slot is on its way elsewhere, and only some of what was asked for is there already.
    TryAgain,
    /// Fewer replicas than `min-replicas-to-write`, or its disk is full: writes are refused.
    NoWrites,
    /// The batch before this one is not there.
    Gap,
    /// The shard's epoch has been raised.
    StaleEpoch,
    /// The connection broke, or no answer came in time.
    Io,
    /// There is no connection.
    Away,
    /// Something no policy knows: damaged data, no permission.
    Other,
}

/// What to do with a batch that was answered so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Certainly not done: again after a while, until its time is over.
    Again,
    /// Perhaps done: again under the same number until its time is over.
    AskAgain,
    /// Not done: load the library, then at once.
    Load,
    /// Not done: at once, without what grows.
    Free,
    /// Not done: under what the shard says is last, at once.
    Chain,
    /// Not done: with the shard's epoch, at once.
    Adopt,
    /// Never again.
    GiveUp,
}

impl Kind {
    pub fn of(error: &RedisError) -> Kind {
        match error.code() {
            Some("MOVED") => Kind::Moved,
            Some("ASK") => Kind::Asked,
            Some("READONLY") => Kind::ReadOnly,
            Some("LOADING") => Kind::Loading,
            Some("OOM") => Kind::OutOfMemory,
            Some("BUSY") => Kind::Busy,
            Some("MASTERDOWN") => Kind::MasterDown,
            Some("CLUSTERDOWN") => Kind::ClusterDown,
            Some("TRYAGAIN") => Kind::TryAgain,
            Some("NOREPLICAS" | "MISCONF") => Kind::NoWrites,
            Some("GAP") => Kind::Gap,
            Some("STALEEPOCH") => Kind::StaleEpoch,
            Some("NOSCRIPT") => Kind::NoFunction,
            _ if error.detail().is_some_and(|detail| detail.contains("Function not found")) => {
                Kind::NoFunction
            }
            Some(_) => Kind::Other,
            None => Kind::Io,
        }
    }

    pub fn policy(self) -> Policy {
        match self {
            Kind::NoFunction => Policy::Load,
            Kind::OutOfMemory => Policy::Free,
            Kind::Gap => Policy::Chain,
            Kind::StaleEpoch => Policy::Adopt,
            Kind::Io => Policy::AskAgain,
            Kind::Other => Policy::GiveUp,
            Kind::Moved
            | Kind::Asked
            | Kind::ReadOnly
            | Kind::Loading
            | Kind::Busy
            | Kind::MasterDown
            | Kind::ClusterDown
            | Kind::TryAgain
            | Kind::NoWrites
            | Kind::Away => Policy::Again,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::NoFunction => "no_function",
            Kind::Moved => "moved",
            Kind::Asked => "ask",
            Kind::ReadOnly => "readonly",
            Kind::Loading => "loading",
            Kind::OutOfMemory => "oom",
            Kind::Busy => "busy",
            Kind::MasterDown => "masterdown",
            Kind::ClusterDown => "clusterdown",
            Kind::TryAgain => "tryagain",
            Kind::NoWrites => "no_writes",
            Kind::Gap => "gap",
            Kind::StaleEpoch => "stale_epoch",
            Kind::Io => "io",
            Kind::Away => "away",
            Kind::Other => "other",
        }
    }

    pub fn count(self) {
        counter!("weir_store_redis_errors_total", "kind" => self.name()).increment(1);
    }
}
