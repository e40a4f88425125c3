//! What access is read from, part by part: each is re-read, counted and reported by itself.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use metrics::{counter, gauge};

use super::LoadError;
use crate::config::Config;

/// One of the things that change by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Policy,
    /// The keys of tokens that stand in files.
    Jwt,
    /// The keys of tokens that are fetched.
    JwksUrl,
    Accounts,
    /// The revocation lists.
    Certificates,
}

/// What tells one state of a file from another without reading it; `None` = there is no such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look(PathBuf, Option<[i64; 6]>);

impl Part {
    /// Those that this configuration has.
    pub(crate) fn of(config: &Config) -> Vec<Part> {
        let all = [
            (Part::Policy, true),
            (Part::Jwt, config.jwt.is_configured()),
            (Part::JwksUrl, config.jwt.jwks_url.is_some()),
            (Part::Accounts, config.accounts.file.is_some()),
            (Part::Certificates, config.certificates.identity.is_some()),
        ];
        all.into_iter().filter_map(|(part, there)| there.then_some(part)).collect()
    }

    fn as_str(self) -> &'static str {
        match self {
            Part::Policy => "policy",
            Part::Jwt => "jwt",
            Part::JwksUrl => "jwks_url",
            Part::Accounts => "accounts",
            Part::Certificates => "certificates",
        }
    }

    pub(crate) fn loaded(self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        counter!("weir_access_reloads_total", "source" => self.as_str()).increment(1);
        gauge!("weir_access_loaded_timestamp_seconds", "source" => self.as_str()).set(now.as_secs_f64());
    }

    /// Something of it is not what it was before.
    pub(crate) fn changed(self) {
        tracing::info!(target: "weir::audit", source = self.as_str(), "access changed");
    }

    /// What has been reported already is only counted.
    pub(crate) fn failed(self, error: &LoadError, reported: bool) {
        counter!("weir_access_reload_failures_total", "source" => self.as_str()).increment(1);
        if !reported {
            tracing::error!(source = self.as_str(), %error, "access keeps what it had");
            tracing::info!(target: "weir::audit", source = self.as_str(), "access not changed: it cannot be read");
        }
    }
}

pub(crate) fn look(files: &[PathBuf]) -> Vec<Look> {
    files.iter().map(|path| Look(path.clone(), std::fs::metadata(path).ok().map(|of| marks(&of)))).collect()
}

/// A replaced file has another inode; a changed one another time or length; one that may be read now has
/// another time of change.
fn marks(of: &Metadata) -> [i64; 6] {
    let inode = i64::from_ne_bytes(of.ino().to_ne_bytes());
    let length = i64::from_ne_bytes(of.len().to_ne_bytes());
    [inode, length, of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()]
}
