//! Subscriptions: what is there, and who has it (WAMP, "Subscription Meta API").
//!
//! A subscription has the same id on every node, but for one in billions: then the id that the asked node gave is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use weir_wire::wamp::uri;

use super::super::channel::Wamp;
use super::super::reason::NO_SUCH_SUBSCRIPTION;
use super::super::subscribe::policy_name;
use super::nodes::{self, Known, Name, Question, Which};
use super::{Answered, Asked, Asking, MetaAnswer, Scope, missing, not_found};

/// The words of the three policies, in the order of their numbers.
const POLICIES: [&str; 3] = ["exact", "prefix", "wildcard"];

/// What is asked of one subscription.
#[derive(Clone, Copy)]
enum Of {
    Itself,
    Subscribers,
    Count,
}

impl Wamp {
    pub(super) fn subscription_meta(&mut self, name: &str, asked: &Asked<'_>) -> Option<Asking> {
        let scope = self.scope();
        let of = |of: Of| match asked.number(0) {
            Some(number) => {
                let scope = scope.clone();
                Asking::later(async move { scope.of_subscription(number, of).await })
            }
            None => Asking::Now(missing("the subscription")),
        };
        Some(match name {
            "list" => Asking::later(async move { scope.subscriptions().await }),
            "match" => match asked.text(0) {
                Some(text) => {
                    let topic = uri::to_topic_text(&text).into_owned();
                    Asking::later(async move { scope.matching(topic).await })
                }
                None => Asking::Now(missing("the topic")),
            },
            "lookup" => match asked.text(0) {
                Some(uri) => {
                    let policy = asked.args.get(1).and_then(|options| options.get("match")?.text());
                    let policy =
                        POLICIES.iter().position(|name| policy.as_deref() == Some(name)).unwrap_or(0);
                    let name = Name { uri: uri.into_owned(), policy: policy as u8, selector: None };
                    let which = Which::Named(name);
                    Asking::later(async move { scope.look_up(which).await })
                }
                None => Asking::Now(missing("the topic")),
            },
            "get" => of(Of::Itself),
            "list_subscribers" => of(Of::Subscribers),
            "count_subscribers" => of(Of::Count),
            _ => return None,
        })
    }
}

impl Scope {
    /// Those of all nodes, each once; what this node knows of one comes first.
    async fn known(&self, which: Which) -> (Vec<Known>, Vec<Arc<str>>) {
        let here = nodes::subscriptions(&self.realm, &which);
        let question =
            |after| Question::Subscriptions { realm: self.realm.clone(), which: which.clone(), after };
        let (there, incomplete) = nodes::ask_all(&self.broker, question, None, &nodes::known).await;
        let mut all: BTreeMap<(Name, Option<u64>), Known> = BTreeMap::new();
        for known in here.into_iter().chain(there) {
            let first = all.entry((known.name.clone(), known.own)).or_insert_with(|| known.clone());
            first.created = first.created.min(known.created);
        }
        let mut all: Vec<Known> = all.into_values().collect();
        all.sort_by_key(|known| known.number);
        (all, incomplete)
    }

    async fn subscriptions(self) -> Answered {
        let (all, incomplete) = self.known(Which::All).await;
        let of = |policy: usize| -> Json {
            all.iter()
                .filter(|known| usize::from(known.name.policy) == policy)
                .map(|known| known.number)
                .collect()
        };
        let by_policy: serde_json::Map<String, Json> =
            POLICIES.iter().enumerate().map(|(policy, name)| ((*name).to_owned(), of(policy))).collect();
        Answered { answer: MetaAnswer::Result(by_policy.into()), incomplete }
    }

    async fn matching(self, topic: String) -> Answered {
        let (all, incomplete) = self.known(Which::Matching(topic)).await;
        let ids: Vec<u32> = all.iter().map(|known| known.number).collect();
        Answered {
            answer: MetaAnswer::Result(if ids.is_empty() { Json::Null } else { ids.into() }),
            incomplete,
        }
    }

    async fn look_up(self, which: Which) -> Answered {
        if let [known] = &nodes::subscriptions(&self.realm, &which)[..] {
            return MetaAnswer::Result(known.number.into()).into();
        }
        let (all, incomplete) = self.known(which).await;
        let found = all.first().map_or(Json::Null, |known| known.number.into());
        Answered { answer: MetaAnswer::Result(found), incomplete }
    }

    async fn of_subscription(self, number: u64, of: Of) -> Answered {
        let (known, incomplete) = match nodes::subscriptions(&self.realm, &Which::Number(number)).pop() {
            Some(known) => (Some(known), Vec::new()),
            None => {
                let (all, incomplete) = self.known(Which::Number(number)).await;
                (all.into_iter().next(), incomplete)
            }
        };
        let Some(known) = known else {
            return not_found(NO_SUCH_SUBSCRIPTION, "there is no such subscription", &incomplete).into();
        };
        if matches!(of, Of::Itself) {
            let policy = policy_name(nodes::policy_of(known.name.policy));
            let created = super::events::time_of(known.created);
            let told =
                json!({ "id": known.number, "created": created, "uri": known.name.uri, "match": policy });
            return Answered { answer: MetaAnswer::Result(told), incomplete };
        }
        let (sessions, incomplete) = self.subscribers(&known).await;
        let told = if matches!(of, Of::Count) { sessions.len().into() } else { sessions.into() };
        Answered { answer: MetaAnswer::Result(told), incomplete }
    }

    async fn subscribers(&self, known: &Known) -> (Vec<u64>, Vec<Arc<str>>) {
        if let Some(session) = known.own {
            return (vec![session], Vec::new());
        }
        let mut sessions = nodes::subscribers(&self.realm, &known.name);
        let question =
            |after| Question::Subscribers { realm: self.realm.clone(), name: known.name.clone(), after };
        let (there, incomplete) = nodes::ask_all(&self.broker, question, None, &nodes::numbers).await;
        sessions.extend(there);
        sessions.sort_unstable();
        (sessions, incomplete)
    }
}
