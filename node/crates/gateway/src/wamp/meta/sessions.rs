//! Sessions: who is there, and how one is ended (WAMP, "Session Meta API").

use std::sync::Arc;

use serde_json::{Value as Json, json};
use weir_broker::addressed::SESSION_PREFIX;
use weir_broker::{Broker, Session};
use weir_wire::wamp::uri;

use super::super::channel::Wamp;
use super::super::handshake;
use super::super::reason::{INVALID_URI, NO_SUCH_SESSION};
use super::nodes::{self, Question, Reply, Whose};
use super::{Answered, Asked, Asking, MetaAnswer, Scope, failed, missing, not_found};

/// What a session that is killed carries in its farewell, before the sentence.
const KILLED: &str = "wamp:";

/// The reason of a session that is killed without one.
const CLOSE_KILLED: &str = "wamp.close.killed";

/// The reason and the sentence of a farewell.
pub fn farewell(why: &str) -> (String, String) {
    match why.strip_prefix(KILLED).and_then(|rest| rest.split_once(' ')) {
        Some((uri, why)) => (uri.to_owned(), why.to_owned()),
        None => (CLOSE_KILLED.to_owned(), why.to_owned()),
    }
}

/// What the caller of a kill hears.
#[derive(Clone, Copy)]
enum Hears {
    /// Nothing, or that there is no such session.
    Whether,
    Which,
    HowMany,
}

impl Wamp {
    pub(super) fn session_meta(&mut self, name: &str, asked: &Asked<'_>) -> Option<Asking> {
        let (scope, roles) = (self.scope(), asked.texts(0));
        Some(match name {
            "count" => Asking::later(async move { scope.count(roles).await }),
            "list" => {
                let fox = self.is_fox();
                Asking::later(async move { scope.list(roles, fox).await })
            }
            "get" => match asked.number(0) {
                Some(id) => Asking::later(async move { scope.get(id).await }),
                None => Asking::Now(missing("the session")),
            },
            "kill" => match asked.number(0) {
                Some(id) => scope.kill(Whose::Session(id), asked, Hears::Whether),
                None => Asking::Now(missing("the session")),
            },
            "kill_by_authid" => match asked.text(0) {
                Some(name) => scope.kill(Whose::Authid(name.into_owned()), asked, Hears::Which),
                None => Asking::Now(missing("the authid")),
            },
            "kill_by_authrole" => match asked.text(0) {
                Some(name) => scope.kill(Whose::Authrole(name.into_owned()), asked, Hears::HowMany),
                None => Asking::Now(missing("the authrole")),
            },
            "kill_all" => scope.kill(Whose::Everybody, asked, Hears::HowMany),
            _ => return None,
        })
    }
}

impl Scope {
    async fn count(self, roles: Option<Vec<String>>) -> Answered {
        let here = here(&self.broker, &self.realm, roles.as_deref()).len() as u64;
        let question = Question::Count { realm: self.realm.clone(), roles };
        let counted = |reply| match reply {
            Reply::Counted(count) => Some(count),
            _ => None,
        };
        let (there, incomplete) = nodes::ask(&self.broker, question, None, &counted).await;
        let count = here + there.iter().map(|(_, count)| count).sum::<u64>();
        Answered { answer: MetaAnswer::Result(count.into()), incomplete }
    }

    async fn list(self, roles: Option<Vec<String>>, fox: bool) -> Answered {
        let here = here(&self.broker, &self.realm, roles.as_deref());
        let question = |after| Question::Sessions { realm: self.realm.clone(), roles: roles.clone(), after };
        let (there, incomplete) = nodes::ask_all(&self.broker, question, None, &nodes::numbers).await;
        let mut ids: Vec<u64> = here.iter().map(|(id, _)| *id).chain(there).collect();
        ids.sort_unstable();
        ids.dedup();
        let ids: Vec<Json> = ids.into_iter().map(Json::from).collect();
        let answer = if fox { MetaAnswer::Results(ids) } else { MetaAnswer::Result(ids.into()) };
        Answered { answer, incomplete }
    }

    async fn get(self, id: u64) -> Answered {
        if let Some(session) = find(&self.broker, &self.realm, id) {
            return MetaAnswer::Result(told(id, &session)).into();
        }
        let question = Question::Session { realm: self.realm.clone(), id };
        let found = |reply| match reply {
            Reply::Session(text) => Some(text.and_then(|text| serde_json::from_str::<Json>(&text).ok())),
            _ => None,
        };
        let (said, incomplete) = nodes::ask(&self.broker, question, None, &found).await;
        match said.into_iter().find_map(|(_, found)| found) {
            Some(told) => MetaAnswer::Result(told).into(),
            None => not_found(NO_SUCH_SESSION, "there is no such session", &incomplete).into(),
        }
    }

    /// Ends others' sessions, each at its node, with the reason and the sentence asked for.
    fn kill(self, whose: Whose, asked: &Asked<'_>, hears: Hears) -> Asking {
        let reason = asked.named("reason").unwrap_or_else(|| CLOSE_KILLED.into());
        if uri::check(&reason, uri::Rules::default()).is_err() {
            return Asking::Now(failed(INVALID_URI, "the reason is no uri"));
        }
        if matches!(whose, Whose::Session(id) if id == self.id) {
            return Asking::Now(failed(NO_SUCH_SESSION, "there is no such session but one's own"));
        }
        let why = format!("{KILLED}{reason} {}", asked.named("message").unwrap_or_default());
        Asking::later(async move { self.end(whose, why, hears).await })
    }

    async fn end(self, whose: Whose, why: String, hears: Hears) -> Answered {
        let mut ended = end_here(&self.broker, &self.realm, &whose, self.id, &why);
        let mut incomplete = Vec::new();
        // One session is in one place.
        if ended.is_empty() || !matches!(whose, Whose::Session(_)) {
            let question = Question::End { realm: self.realm.clone(), whose, but: self.id, why };
            let (said, silent) = nodes::ask(&self.broker, question, None, &nodes::numbers).await;
            ended.extend(said.into_iter().flat_map(|(_, page)| page.items));
            incomplete = silent;
        }
        let answer = match hears {
            Hears::Whether if ended.is_empty() => {
                not_found(NO_SUCH_SESSION, "there is no such session", &incomplete)
            }
            Hears::Whether => return MetaAnswer::Result(Json::Null).into(),
            Hears::Which => MetaAnswer::Result(ended.into()),
            Hears::HowMany => MetaAnswer::Result(ended.len().into()),
        };
        Answered { answer, incomplete }
    }
}

/// The sessions of this node in a realm, of these roles if some are given, by their ids.
pub(super) fn here(broker: &Broker, realm: &Arc<str>, roles: Option<&[String]>) -> Vec<(u64, Arc<Session>)> {
    let of_wamp = broker.sessions().all(realm).into_iter().filter(|session| session.is_online());
    let numbered = of_wamp.filter_map(|session| Some((number_of(&session)?, session)));
    let wanted = numbered.filter(|(_, session)| {
        let role = session.identity().map(|identity| handshake::authrole(&identity.principal).to_owned());
        roles.is_none_or(|roles| role.is_some_and(|role| roles.contains(&role)))
    });
    let mut sessions: Vec<_> = wanted.collect();
    sessions.sort_by_key(|(id, _)| *id);
    sessions
}

pub(super) fn find(broker: &Broker, realm: &Arc<str>, id: u64) -> Option<Arc<Session>> {
    let name = Arc::from(format!("{SESSION_PREFIX}{id}"));
    broker.sessions().find(realm, &name).filter(|session| session.is_online())
}

/// Ends sessions of this node; which.
pub(super) fn end_here(broker: &Broker, realm: &Arc<str>, whose: &Whose, but: u64, why: &str) -> Vec<u64> {
    let candidates = match whose {
        Whose::Session(id) => find(broker, realm, *id).map(|session| (*id, session)).into_iter().collect(),
        _ => here(broker, realm, None),
    };
    let is_meant = |session: &Session| {
        let identity = session.identity();
        let principal = identity.as_ref().map(|identity| &identity.principal);
        match whose {
            Whose::Session(_) | Whose::Everybody => true,
            Whose::Authid(name) => principal.is_some_and(|known| handshake::authid(known) == name),
            Whose::Authrole(name) => principal.is_some_and(|known| handshake::authrole(known) == name),
        }
    };
    let mut ended = Vec::new();
    for (id, session) in candidates {
        if id != but && is_meant(&session) {
            broker.end_connection(&session, why);
            ended.push(id);
        }
    }
    ended
}

/// A session's own number, if it is one of WAMP.
fn number_of(session: &Session) -> Option<u64> {
    session.client_id().strip_prefix(SESSION_PREFIX)?.parse().ok()
}

/// What is told of a session.
pub(super) fn told(id: u64, session: &Session) -> Json {
    let identity = session.identity();
    let principal = identity.as_ref().map(|identity| &identity.principal);
    let address = session.origin().map(|origin| format!("{}:{}", origin.address, origin.port));
    json!({
        "session": id,
        "authid": principal.map(|principal| handshake::authid(principal)),
        "authrole": principal.map(|principal| handshake::authrole(principal)),
        "authprovider": "static",
        "transport": { "peer": address },
    })
}
