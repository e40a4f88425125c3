//! Handlers as they are told.

use weir_broker::binding::{self, Share, Version};

use crate::proto::{self, HandlerShare, HandlerVersion};

/// What an alias that is not named is called.
pub fn alias_name(asked: &str) -> &str {
    if asked.is_empty() { binding::definition::LIVE } else { asked }
}

pub fn handler(realm: &str, name: &str, handler: &binding::Handler) -> proto::Handler {
    proto::Handler {
        realm: realm.to_owned(),
        name: name.to_owned(),
        world: handler.world.to_string(),
        versions: handler.versions.iter().map(version).collect(),
        aliases: handler.aliases.iter().map(|(name, row)| alias(name, row)).collect(),
    }
}

pub fn version(version: &Version) -> HandlerVersion {
    HandlerVersion {
        number: version.number,
        digest: version.digest.to_string(),
        bytes: version.bytes,
        uploaded_unix_ms: version.uploaded_at.0,
        uploaded_by: version.uploaded_by.to_string(),
        large: version.is_large,
    }
}

pub fn alias(name: &str, alias: &binding::Alias) -> proto::HandlerAlias {
    proto::HandlerAlias {
        name: name.to_owned(),
        shares: alias.shares.iter().map(share).collect(),
        before: alias.before.iter().map(share).collect(),
        guard_percent: alias.guard_percent.into(),
        guard_calls_min: alias.guard_calls_min,
        since_unix_ms: alias.since.0,
    }
}

fn share(share: &Share) -> HandlerShare {
    HandlerShare { digest: share.digest.to_string(), percent: share.percent.into() }
}
