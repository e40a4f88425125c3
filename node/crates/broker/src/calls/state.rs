//! All that one node decides of the calls of one realm: inputs in, messages and deliveries out; time is an argument.
//!
//! [`origin`] has the calls of this node's callers, [`home`] the registrations and calls whose home is here, [`host`]
//! the registrations of this node's callees. They speak to each other by [`Said`], whether they are on one node or
//! not, so that one node alone runs the same steps as a cluster.

mod home;
mod host;
mod origin;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::config::Config;
use super::mailbox::Endpoint;
use super::message::{CallId, Said};
use super::view::View;
use super::{Answer, ChangeKind, Invoke, MatchKind, Procedure, RegisterError, Why};
use home::Home;
pub(super) use home::Listed;
use host::Host;
use origin::Origin;

/// How often a call may go from home to home before it is refused.
const HOPS_MAX: u8 = 3;

/// Calls and registrations that one state can number.
const NUMBERS_BITS: u32 = 40;

/// What became of a registration at its home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub kind: ChangeKind,
    pub procedure: Procedure,
    pub invoke: Invoke,
    pub created_ms: u64,
    /// The public number of the callee's session.
    pub session: u64,
}

/// What happened that nobody waits for, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    Called,
    Answered,
    Failed,
    TimedOut,
    ProgressDropped,
    LateAnswer,
    UnknownInvocation,
    Queued,
    Refused,
    /// The first callee of a procedure, or the last one's end: `Created` and `Deleted` of registrations.
    Created,
    Deleted,
    Revoked,
}

/// Whether others hear of the end of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    ToAll,
    /// It lives on at another home.
    ToNobody,
}

/// What a session has to do with calls.
struct Member {
    endpoint: Arc<Endpoint>,
    /// Its calls by its own numbers.
    requests: HashMap<u64, u64>,
    /// Its registrations by their public ids.
    slots: HashMap<u64, u64>,
    /// What it was given and has not answered.
    invocations: HashMap<u64, CallId>,
    next_invocation: u64,
}

/// One realm's calls at one node.
pub(super) struct State {
    realm: Arc<str>,
    config: Config,
    view: View,
    members: HashMap<u64, Member>,
    origin: Origin,
    home: Home,
    host: Host,
    out: VecDeque<(u64, Said)>,
    /// For the shell to count.
    noted: Vec<Noted>,
    /// For those who follow registrations.
    changes: Vec<Change>,
}

impl State {
    /// `made`: another number than that of any other state of this process, whose calls and registrations are numbered
    /// apart from its own.
    pub fn new(realm: Arc<str>, config: Config, view: View, made: u64) -> State {
        State {
            realm,
            config,
            view,
            members: HashMap::new(),
            origin: Origin::new(made << NUMBERS_BITS),
            home: Home::new(made),
            host: Host::new(made << NUMBERS_BITS),
            out: VecDeque::new(),
            noted: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn me(&self) -> u64 {
        self.view.me()
    }

    fn say(&mut self, node: u64, said: Said) {
        self.out.push_back((node, said));
    }

    fn note(&mut self, noted: Noted) {
        self.noted.push(noted);
    }

    /// Carries out what concerns this node; returns what is for others, in order.
    pub fn run(&mut self) -> Vec<(u64, Said)> {
        let mut others = Vec::new();
        while let Some((node, said)) = self.out.pop_front() {
            match node == self.me() {
                true => self.hear(node, said),
                false => others.push((node, said)),
            }
        }
        others
    }

    pub fn take_noted(&mut self) -> Vec<Noted> {
        std::mem::take(&mut self.noted)
    }

    /// What became of registrations whose home is here.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// A message of a node, this one too.
    pub fn hear(&mut self, from: u64, said: Said) {
        match said {
            Said::Call { call, offer, at, hops } => {
                if hops > 0 {
                    self.say(call.node, Said::Moved { call, hops });
                }
                self.dispatch(call, offer, at, hops);
            }
            Said::More { call, payload, last } => self.home_more(call, payload, last),
            Said::Cancel { call, mode, why } => self.home_cancel(call, mode, why),
            Said::Moved { call, hops } => self.origin_moved(from, call, hops),
            Said::Answered { call, answer } => self.origin_heard(from, call, answer),
            Said::Register { slot, registering } => self.home_register(from, slot, *registering),
            Said::Unregister { slot } => self.home_unregister(from, slot, Told::ToAll),
            Said::Leaves { slot } => self.home_unregister(from, slot, Told::ToNobody),
            Said::Yielded { call, answer } => self.home_yielded(from, call, answer),
            Said::Refused { call, slot, offer } => self.home_refused(from, call, slot, offer),
            Said::Registered { slot, result } => self.host_registered(from, slot, result),
            Said::Revoked { slot } => self.host_revoked(from, slot),
            Said::Invoke { call, slot, offer } => self.host_invoke(from, call, slot, offer),
            Said::InvokeMore { call, payload, last } => self.host_more(call, payload, last),
            Said::Interrupt { call, mode, why } => self.host_interrupt(call, mode, why),
        }
    }

    /// A message found no room in its link, or there is none: whoever waits for what it would do is told.
    pub fn unsent(&mut self, to: u64, said: Said) {
        let failed = || Answer::failed(Why::Unavailable);
        match said {
            Said::Call { call, .. } | Said::More { call, .. } => {
                let origin = call.node;
                self.home_forget(call);
                self.say(origin, Said::Answered { call, answer: failed() });
            }
            Said::Invoke { call, slot, offer } => self.home_refused(to, call, slot, offer),
            Said::InvokeMore { call, .. } => self.home_end(call, failed()),
            Said::Register { slot, .. } => {
                self.host_registered(to, slot, Err(RegisterError::Unavailable));
            }
            Said::Yielded { answer: Answer::Progress(_), .. }
            | Said::Answered { answer: Answer::Progress(_), .. } => self.note(Noted::ProgressDropped),
            // A result is large, that there is none is small and finds room.
            Said::Yielded { call, answer } if !answer.is_empty() => {
                self.say(to, Said::Yielded { call, answer: failed() });
            }
            Said::Answered { call, answer } if !answer.is_empty() => {
                self.say(to, Said::Answered { call, answer: failed() });
            }
            Said::Refused { call, .. } => {
                self.say(to, Said::Yielded { call, answer: failed() });
            }
            // What ends with the link, or with the caller's timeout.
            _ => {}
        }
    }

    /// A session takes part.
    pub fn join(&mut self, endpoint: Arc<Endpoint>) {
        let member = Member {
            endpoint: endpoint.clone(),
            requests: HashMap::new(),
            slots: HashMap::new(),
            invocations: HashMap::new(),
            next_invocation: 0,
        };
        self.members.insert(endpoint.id(), member);
    }

    /// A session has ended: its calls are canceled, its registrations go, what it was asked has failed.
    pub fn leave(&mut self, endpoint: u64) {
        let Some(member) = self.members.remove(&endpoint) else { return };
        self.origin_left(member.requests.into_values());
        self.host_left(member.slots.into_values(), member.invocations.into_values());
    }

    /// Other nodes have come or gone: registrations move to the homes they have now, and all that was done with those
    /// that are gone ends.
    pub fn set_view(&mut self, view: View) {
        let old = std::mem::replace(&mut self.view, view);
        self.host_moves(&old);
    }

    /// A node is gone, or has forgotten all.
    pub fn lose(&mut self, node: u64) {
        self.origin_lost(node);
        self.home_lost(node);
        self.host_lost(node);
    }

    /// Whether every node has told what is registered with it: what is not known then is not there.
    pub fn set_settled(&mut self, settled: bool) {
        self.home_settled(settled);
    }

    /// Every registration whose home is here.
    pub fn list(&self) -> Vec<Listed> {
        self.home.list()
    }

    /// What of that would be called.
    pub fn find(&self, topic: &str, kinds: &[MatchKind]) -> Option<Listed> {
        self.home.find(topic, kinds)
    }

    pub fn is_idle(&self) -> bool {
        self.members.is_empty() && self.home.is_empty()
    }
}
