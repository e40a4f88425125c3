//! A realm: a name space of topics. Clients of two realms never meet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::binding::middleware::Chain;
use crate::retained::Retained;
use crate::routes::Routes;

#[derive(Default)]
pub struct Realm {
    pub name: Arc<str>,
    pub rules: RealmRules,
    pub routes: Routes,
    pub retained: Retained,
    /// Who is asked before anything goes on.
    pub middleware: Chain,
}

/// What is different in one realm: an entry of `[[broker.realm]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RealmRules {
    /// The realm they are of.
    pub name: String,
    /// Whose names and quirks its WAMP clients count on.
    pub compat: Compat,
    /// What becomes of a retained value when another one is published.
    pub retained: RetainedRule,
    /// How many events are recorded, to be read again by `after` and `wamp.subscription.get_events`: what is published with
    /// QoS 1 or 2, or with WAMP's `trace`. 0 = none. Without it 10000 with `compat = "fox"`, else 0.
    pub history: Option<u64>,
}

/// Events that fox-wamp keeps.
const FOX_HISTORY: u64 = 10_000;

impl RealmRules {
    /// How many events are recorded; 0 = none.
    pub fn history_records(&self) -> u64 {
        self.history.unwrap_or(if self.compat == Compat::Fox { FOX_HISTORY } else { 0 })
    }
}

/// Another router whose clients find what they know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// The WAMP specification, and nothing else.
    #[default]
    None,
    /// fox-wamp.
    Fox,
}

/// What becomes of a retained value when another one is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetainedRule {
    /// It is replaced.
    #[default]
    Replace,
    /// Two JSON objects are merged, deeply; see [`crate::sync::merged`].
    Merge,
}

impl Realm {
    pub fn new(name: Arc<str>, rules: RealmRules) -> Realm {
        Realm { name, rules, ..Realm::default() }
    }

    /// Whether retained values are merged.
    pub fn merges(&self) -> bool {
        self.rules.retained == RetainedRule::Merge
    }
}
