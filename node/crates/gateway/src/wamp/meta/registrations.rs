//! Registrations: what is there, and who answers for it (WAMP, "Registration Meta API"). Their homes know.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use weir_broker::Broker;
use weir_broker::calls::{MatchKind, RegistrationInfo};
use weir_wire::wamp::message::Match;
use weir_wire::wamp::uri;

use super::super::channel::Wamp;
use super::super::rpc::convert;
use super::events::time_of;
use super::nodes::{self, Question, Registered};
use super::{Answered, Asked, Asking, MetaAnswer, Scope, missing, not_found};

const NO_SUCH_REGISTRATION: &str = "wamp.error.no_such_registration";

/// What is asked of one registration.
#[derive(Clone, Copy)]
enum Of {
    Itself,
    Callees,
    Count,
}

impl Wamp {
    pub(super) fn registration_meta(&mut self, name: &str, asked: &Asked<'_>) -> Option<Asking> {
        let scope = self.scope();
        let of = |of: Of| match asked.number(0) {
            Some(id) => {
                let scope = scope.clone();
                Asking::later(async move { scope.of_registration(id, of).await })
            }
            None => Asking::Now(missing("the registration")),
        };
        Some(match name {
            "list" => Asking::later(async move { scope.registrations().await }),
            "match" => match asked.text(0) {
                Some(uri) => {
                    let topic = uri::to_topic_text(&uri).into_owned();
                    Asking::later(async move { scope.called(topic).await })
                }
                None => Asking::Now(missing("the procedure")),
            },
            "lookup" => self.look_up(scope, asked),
            "get" => of(Of::Itself),
            "list_callees" => of(Of::Callees),
            "count_callees" => of(Of::Count),
            _ => return None,
        })
    }

    /// The registration of the very same URI and match policy: its id follows from them.
    fn look_up(&self, scope: Scope, asked: &Asked<'_>) -> Asking {
        let Some(uri) = asked.text(0) else { return Asking::Now(missing("the procedure")) };
        let policy = asked.args.get(1).and_then(|options| options.get("match")?.text());
        let policy = match policy.as_deref() {
            Some("prefix") => Match::Prefix,
            Some("wildcard") => Match::Wildcard,
            _ => Match::Exact,
        };
        let Ok((procedure, _)) = convert::procedure(&uri, policy, self.rules) else {
            return Asking::Now(MetaAnswer::Result(Json::Null));
        };
        let (id, topic) = (procedure.id(&scope.realm), procedure.as_str().to_owned());
        Asking::later(async move {
            let homes = scope.homes(&topic);
            let (found, incomplete) = scope.registered(Registered::Number(id), Some(&homes)).await;
            let answer = MetaAnswer::Result(found.first().map_or(Json::Null, |found| found.id.into()));
            Answered { answer, incomplete }
        })
    }
}

/// Whether something is registered at a topic, if this node can tell alone.
pub fn is_registered_here(broker: &Broker, realm: &Arc<str>, topic: &str) -> Option<bool> {
    let kinds = [MatchKind::Exact, MatchKind::Prefix, MatchKind::Wildcard];
    let calls = broker.calls();
    if calls.registration_here(realm, topic, &kinds).is_some() {
        return Some(true);
    }
    calls.homes_elsewhere(broker, realm, topic).is_empty().then_some(false)
}

/// The same, asking the nodes that know. One that does not answer has nothing registered.
pub async fn is_registered(broker: Broker, realm: Arc<str>, topic: String) -> bool {
    let scope = Scope { broker, realm, id: 0 };
    let homes = scope.homes(&topic);
    !scope.registered(Registered::For(topic), Some(&homes)).await.0.is_empty()
}

impl Scope {
    fn homes(&self, topic: &str) -> Vec<Arc<str>> {
        self.broker.calls().homes_elsewhere(&self.broker, &self.realm, topic)
    }

    /// Those of all nodes, or of this one and those of these names, each once.
    async fn registered(
        &self,
        which: Registered,
        of: Option<&[Arc<str>]>,
    ) -> (Vec<RegistrationInfo>, Vec<Arc<str>>) {
        let here = nodes::registrations(&self.broker, &self.realm, &which);
        let question =
            |after| Question::Registrations { realm: self.realm.clone(), which: which.clone(), after };
        let (there, incomplete) = nodes::ask_all(&self.broker, question, of, &nodes::registered).await;
        let all: BTreeMap<u64, RegistrationInfo> =
            there.into_iter().chain(here).map(|known| (known.id, known)).collect();
        (all.into_values().collect(), incomplete)
    }

    async fn registrations(self) -> Answered {
        let (all, incomplete) = self.registered(Registered::All, None).await;
        let of = |kind: MatchKind| -> Vec<u64> {
            all.iter().filter(|known| known.procedure.kind() == kind).map(|known| known.id).collect()
        };
        let answer = MetaAnswer::Result(json!({
            "exact": of(MatchKind::Exact),
            "prefix": of(MatchKind::Prefix),
            "wildcard": of(MatchKind::Wildcard),
        }));
        Answered { answer, incomplete }
    }

    /// What a call would find: the home of the very procedure, and that of all patterns, know.
    async fn called(self, topic: String) -> Answered {
        let homes = self.homes(&topic);
        let (found, incomplete) = self.registered(Registered::For(topic), Some(&homes)).await;
        let best = found.iter().min_by_key(|found| found.procedure.kind() as u8);
        Answered { answer: MetaAnswer::Result(best.map_or(Json::Null, |found| found.id.into())), incomplete }
    }

    async fn of_registration(self, id: u64, of: Of) -> Answered {
        let (found, incomplete) = self.registered(Registered::Number(id), None).await;
        let Some(found) = found.first() else {
            return not_found(NO_SUCH_REGISTRATION, "there is no such registration", &incomplete).into();
        };
        let answer = MetaAnswer::Result(match of {
            Of::Itself => told(found),
            Of::Callees => json!(found.callees),
            Of::Count => found.callees.len().into(),
        });
        answer.into()
    }
}

fn told(found: &RegistrationInfo) -> Json {
    json!({
        "id": found.id,
        "created": time_of(found.created_ms),
        "uri": convert::uri_of(&found.procedure),
        "match": convert::match_name(found.procedure.kind()),
        "invoke": convert::invoke_name(found.invoke),
    })
}
