//! The meta API of registrations (WAMP, "Registration Meta API"). In a cluster a node tells of those whose home it is.

use serde_json::{Value as Json, json};
use weir_broker::calls::{Delivery, MatchKind, RegistrationInfo};
use weir_wire::wamp::{Args, Payload, Raw, uri};

use super::super::channel::Wamp;
use super::super::meta::{self, MetaAnswer};
use super::super::reason::{INVALID_ARGUMENT, NOT_AUTHORIZED};
use super::convert;

const NO_SUCH_REGISTRATION: &str = "wamp.error.no_such_registration";

impl Wamp {
    /// Answers a procedure of the router about registrations; `None`: it is none.
    pub(super) fn registration_meta(&self, procedure: &str, payload: &Payload<'_>) -> Option<MetaAnswer> {
        let name = procedure.strip_prefix("wamp.registration.")?;
        let (access, principal) = (self.publisher.broker.access(), &self.publisher.principal);
        if !access.may_call(principal, &uri::to_topic_text(procedure)) {
            return Some(failed(NOT_AUTHORIZED, "not authorized"));
        }
        let args: Vec<Raw<'_>> = match payload.args {
            Some(Args::All(list)) => list.elements().take(2).collect(),
            _ => Vec::new(),
        };
        Some(match name {
            "list" => MetaAnswer::Result(self.registrations_by_kind()),
            "match" => self.matched(args.first()),
            "lookup" => self.looked_up(&args),
            "get" => self.of_registration(args.first(), |found| {
                json!({
                    "id": found.id,
                    "uri": convert::uri_of(&found.procedure),
                    "match": convert::match_name(found.procedure.kind()),
                    "invoke": convert::invoke_name(found.invoke),
                })
            }),
            "list_callees" => self.of_registration(args.first(), |found| json!(found.callees)),
            "count_callees" => self.of_registration(args.first(), |found| json!(found.callees.len())),
            _ => return None,
        })
    }

    fn registrations(&self) -> Vec<RegistrationInfo> {
        self.publisher.broker.calls().registrations_here(&self.publisher.realm.name)
    }

    fn registrations_by_kind(&self) -> Json {
        let all = self.registrations();
        let of = |kind: MatchKind| -> Vec<u64> {
            all.iter().filter(|known| known.procedure.kind() == kind).map(|known| known.id).collect()
        };
        json!({ "exact": of(MatchKind::Exact), "prefix": of(MatchKind::Prefix), "wildcard": of(MatchKind::Wildcard) })
    }

    fn matched(&self, uri: Option<&Raw<'_>>) -> MetaAnswer {
        let Some(uri) = uri.and_then(|raw| raw.text()) else {
            return failed(INVALID_ARGUMENT, "the procedure is missing");
        };
        let kinds = [MatchKind::Exact, MatchKind::Prefix, MatchKind::Wildcard];
        let (calls, topic) = (self.publisher.broker.calls(), uri::to_topic_text(&uri));
        let found = calls.registration_here(&self.publisher.realm.name, &topic, &kinds);
        MetaAnswer::Result(found.map_or(Json::Null, |found| found.id.into()))
    }

    /// The registration of the very same URI and match policy.
    fn looked_up(&self, args: &[Raw<'_>]) -> MetaAnswer {
        let Some(uri) = args.first().and_then(|raw| raw.text()) else {
            return failed(INVALID_ARGUMENT, "the procedure is missing");
        };
        let policy = args.get(1).and_then(|options| options.get("match")).and_then(|raw| raw.text());
        let policy = policy.as_deref().unwrap_or("exact");
        let found = self.registrations().into_iter().find(|known| {
            convert::match_name(known.procedure.kind()) == policy && convert::uri_of(&known.procedure) == *uri
        });
        MetaAnswer::Result(found.map_or(Json::Null, |found| found.id.into()))
    }

    fn of_registration(&self, id: Option<&Raw<'_>>, tell: impl Fn(&RegistrationInfo) -> Json) -> MetaAnswer {
        let Some(id) = id.and_then(|raw| raw.unsigned()) else {
            return failed(INVALID_ARGUMENT, "the registration id is missing");
        };
        match self.registrations().iter().find(|known| known.id == id) {
            Some(found) => MetaAnswer::Result(tell(found)),
            None => failed(NO_SUCH_REGISTRATION, "there is no such registration at this node"),
        }
    }

    /// Whether anybody hears of registrations: what is told of them is looked up only then.
    fn is_told_of_registrations(&self) -> bool {
        let (broker, realm) = (&self.publisher.broker, &self.publisher.realm);
        let is_heard = |name: &str| {
            let topic = format!("wamp/registration/{name}");
            !realm.routes.find(&topic, broker.access()).is_empty()
        };
        broker.peers().any()
            || ["on_create", "on_register", "on_unregister", "on_delete"].into_iter().any(is_heard)
    }

    /// Publishes what became of a registration of this session.
    pub(super) fn tell_registration(&self, delivery: &Delivery) {
        let (name, registration) = match delivery {
            Delivery::Registered { registration, .. } => ("on_register", *registration),
            Delivery::Unregistered { registration, .. } => ("on_unregister", *registration),
            _ => return,
        };
        if !self.is_told_of_registrations() {
            return;
        }
        let known = self.registrations().into_iter().find(|known| known.id == registration);
        let session = self.id.get();
        let mut events = vec![(name, json!([session, registration]))];
        match &known {
            Some(known) if name == "on_register" && known.callees.len() == 1 => {
                let created = json!({
                    "id": registration,
                    "uri": convert::uri_of(&known.procedure),
                    "match": convert::match_name(known.procedure.kind()),
                    "invoke": convert::invoke_name(known.invoke),
                });
                events.insert(0, ("on_create", json!([session, created])));
            }
            None if name == "on_unregister" => events.push(("on_delete", json!([session, registration]))),
            _ => {}
        }
        let (broker, realm) = (self.publisher.broker.clone(), self.publisher.realm.clone());
        tokio::spawn(async move {
            for (name, args) in events {
                meta::publish(&broker, &realm, &format!("wamp/registration/{name}"), &args, None).await;
            }
        });
    }
}

fn failed(error: &'static str, why: &str) -> MetaAnswer {
    MetaAnswer::Failed { error, why: why.to_owned() }
}
