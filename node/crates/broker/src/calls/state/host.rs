//! The callee's node: what its sessions have registered, where, and what they are at work on.

use hashbrown::HashMap;

use super::{Noted, State};
use crate::calls::config::is_full;
use crate::calls::mailbox::{Delivery, Invocation};
use crate::calls::message::{CallId, Registering, Said};
use crate::calls::view::View;
use crate::calls::{
    Answer, CancelMode, Misfit, Offer, Payload, Procedure, RegisterError, RegisterOptions, Why,
};
use crate::clock;

/// The registrations and invocations of this node's sessions.
#[derive(Default)]
pub(super) struct Host {
    slots: HashMap<u64, Slot>,
    work: HashMap<CallId, Work>,
    next: u64,
}

/// One registration.
struct Slot {
    endpoint: u64,
    /// As the session knows it.
    id: u64,
    procedure: Procedure,
    options: RegisterOptions,
    home: u64,
    /// The session's number of a REGISTER that is not answered.
    pending: Option<u64>,
    since_ms: u64,
    /// What is not answered of what was given to it. Its limit is kept here too: homes may change.
    busy: u32,
}

/// One invocation.
struct Work {
    endpoint: u64,
    invocation: u64,
    slot: u64,
    home: u64,
}

impl Host {
    /// Numbers begin after `first`.
    pub fn new(first: u64) -> Host {
        Host { next: first, ..Host::default() }
    }
}

impl State {
    /// A session registers; it is answered by [`Delivery::Registered`] or [`Delivery::NotRegistered`].
    pub fn register(&mut self, endpoint: u64, request: u64, procedure: Procedure, options: RegisterOptions) {
        let id = procedure.id(&self.realm);
        let Some(member) = self.members.get_mut(&endpoint) else { return };
        let error = match () {
            () if is_full(member.slots.len(), self.config.registrations_max) => Some(RegisterError::TooMany),
            () if member.slots.contains_key(&id) => Some(RegisterError::AlreadyExists),
            () => None,
        };
        if let Some(error) = error {
            return self.deliver(endpoint, Delivery::NotRegistered { request, error });
        }
        self.host.next += 1;
        let slot = self.host.next;
        member.slots.insert(id, slot);
        let home = self.view.home_of(&self.realm, &procedure);
        let (pending, since_ms) = (Some(request), clock::unix().0);
        let hosted = Slot { endpoint, id, procedure, options, home, pending, since_ms, busy: 0 };
        self.host.slots.insert(slot, hosted);
        self.announce(slot, false);
    }

    fn announce(&mut self, slot: u64, again: bool) {
        let Some(hosted) = self.host.slots.get(&slot) else { return };
        let Some(member) = self.members.get(&hosted.endpoint) else { return };
        let RegisterOptions { invoke, concurrency, shares_always, force, .. } = hosted.options;
        let registering = Box::new(Registering {
            procedure: hosted.procedure.clone(),
            invoke,
            concurrency,
            shares_always,
            force,
            interruptible: member.endpoint.is_interruptible(),
            session: member.endpoint.session(),
            again,
            since_ms: hosted.since_ms,
        });
        let home = hosted.home;
        self.say(home, Said::Register { slot, registering });
    }

    /// A session gives a registration up.
    ///
    /// # Errors
    /// It has none of that number.
    pub fn unregister(&mut self, endpoint: u64, request: u64, registration: u64) -> Result<(), Misfit> {
        let none = Misfit::NoSuchRegistration;
        let member = self.members.get_mut(&endpoint).ok_or(none)?;
        let slot = *member.slots.get(&registration).ok_or(none)?;
        if self.host.slots.get(&slot).is_none_or(|hosted| hosted.pending.is_some()) {
            return Err(none);
        }
        member.slots.remove(&registration);
        self.give_up(slot);
        self.deliver(endpoint, Delivery::Unregistered { request, registration });
        Ok(())
    }

    fn give_up(&mut self, slot: u64) {
        if let Some(hosted) = self.host.slots.remove(&slot) {
            self.say(hosted.home, Said::Unregister { slot });
        }
    }

    /// A callee answers.
    ///
    /// # Errors
    /// It was not asked, or its answer comes too late.
    pub fn answer_invocation(
        &mut self,
        endpoint: u64,
        invocation: u64,
        answer: Answer,
    ) -> Result<(), Misfit> {
        let member = self.members.get_mut(&endpoint).ok_or(Misfit::NoSuchInvocation)?;
        let call = match answer.is_final() {
            true => member.invocations.remove(&invocation),
            false => member.invocations.get(&invocation).copied(),
        };
        let known = call.and_then(|call| Some((call, self.host.work.get(&call)?)));
        let Some((call, work)) = known else {
            self.note(Noted::UnknownInvocation);
            return Err(Misfit::NoSuchInvocation);
        };
        let (home, slot) = (work.home, work.slot);
        if answer.is_final() {
            self.host.work.remove(&call);
            if let Some(hosted) = self.host.slots.get_mut(&slot) {
                hosted.busy = hosted.busy.saturating_sub(1);
            }
        }
        self.say(home, Said::Yielded { call, answer });
        Ok(())
    }

    pub(super) fn host_registered(&mut self, from: u64, slot: u64, result: Result<(), RegisterError>) {
        let Some(hosted) = self.host.slots.get_mut(&slot).filter(|hosted| hosted.home == from) else {
            return;
        };
        let (endpoint, registration, pending) = (hosted.endpoint, hosted.id, hosted.pending.take());
        let delivery = match (result, pending) {
            (Ok(()), Some(request)) => Delivery::Registered { request, registration },
            (Ok(()), None) => return,
            (Err(error), Some(request)) => Delivery::NotRegistered { request, error },
            (Err(_), None) => Delivery::Revoked { registration },
        };
        if result.is_err() {
            self.host_drop(slot, endpoint, registration);
        }
        self.deliver(endpoint, delivery);
    }

    pub(super) fn host_revoked(&mut self, from: u64, slot: u64) {
        let Some(hosted) = self.host.slots.get(&slot).filter(|hosted| hosted.home == from) else { return };
        let (endpoint, registration) = (hosted.endpoint, hosted.id);
        self.host_drop(slot, endpoint, registration);
        self.deliver(endpoint, Delivery::Revoked { registration });
    }

    fn host_drop(&mut self, slot: u64, endpoint: u64, registration: u64) {
        self.host.slots.remove(&slot);
        if let Some(member) = self.members.get_mut(&endpoint) {
            member.slots.remove(&registration);
        }
    }

    /// A home has chosen a session of this node.
    pub(super) fn host_invoke(&mut self, home: u64, call: CallId, slot: u64, offer: Box<Offer>) {
        if self.host.work.contains_key(&call) {
            return;
        }
        let invocations_max = self.config.invocations_max;
        let taken = self.host.slots.get_mut(&slot).and_then(|hosted| {
            let member = self.members.get_mut(&hosted.endpoint)?;
            let limit = hosted.options.concurrency;
            let is_busy = limit > 0 && hosted.busy >= limit;
            let has_room = !is_full(member.invocations.len(), invocations_max) && member.endpoint.has_room();
            (!is_busy && has_room).then_some((hosted, member))
        });
        let Some((hosted, member)) = taken else {
            return self.say(home, Said::Refused { call, slot, offer });
        };
        hosted.busy += 1;
        member.next_invocation += 1;
        let invocation = member.next_invocation;
        member.invocations.insert(invocation, call);
        self.host.work.insert(call, Work { endpoint: hosted.endpoint, invocation, slot, home });
        let is_told = offer.disclose_me || hosted.options.disclose_caller;
        member.endpoint.push(Delivery::Invocation(Box::new(Invocation {
            number: invocation,
            registration: hosted.id,
            procedure: (!hosted.procedure.is_exact()).then_some(offer.topic),
            caller: is_told.then_some(offer.caller),
            receive_progress: offer.receive_progress,
            progress: offer.progress,
            payload: offer.payload,
        })));
    }

    /// Further arguments of a call that a session is at work on.
    pub(super) fn host_more(&mut self, call: CallId, payload: Payload, last: bool) {
        let Some(work) = self.host.work.get(&call) else { return };
        let (endpoint, number) = (work.endpoint, work.invocation);
        let Some(member) = self.members.get(&endpoint) else { return };
        let registration = self.host.slots.get(&work.slot).map_or(0, |hosted| hosted.id);
        let taken = member.endpoint.offer(Delivery::Invocation(Box::new(Invocation {
            number,
            registration,
            procedure: None,
            caller: None,
            receive_progress: false,
            progress: !last,
            payload,
        })));
        if !taken {
            self.host_interrupt(call, CancelMode::KillNoWait, Why::Unavailable);
            // It is known: what it still says of it is passed over from now on.
            let _ = self.answer_invocation(endpoint, number, Answer::failed(Why::Unavailable));
        }
    }

    pub(super) fn host_interrupt(&mut self, call: CallId, mode: CancelMode, why: Why) {
        let Some(work) = self.host.work.get(&call) else { return };
        let (endpoint, invocation) = (work.endpoint, work.invocation);
        self.deliver(endpoint, Delivery::Interrupt { invocation, mode, why });
    }

    /// A session has ended.
    pub(super) fn host_left(
        &mut self,
        slots: impl Iterator<Item = u64>,
        invocations: impl Iterator<Item = CallId>,
    ) {
        slots.for_each(|slot| self.give_up(slot));
        for call in invocations {
            if let Some(work) = self.host.work.remove(&call) {
                self.say(work.home, Said::Yielded { call, answer: Answer::failed(Why::Canceled) });
            }
        }
    }

    /// Tells registrations to the homes they have now.
    pub(super) fn host_moves(&mut self, old: &View) {
        let moved: Vec<(u64, u64)> = self
            .host
            .slots
            .iter()
            .filter_map(|(slot, hosted)| {
                let home = self.view.home_of(&self.realm, &hosted.procedure);
                (home != hosted.home).then_some((*slot, home))
            })
            .collect();
        for (slot, home) in moved {
            let Some(hosted) = self.host.slots.get_mut(&slot) else { continue };
            let before = std::mem::replace(&mut hosted.home, home);
            let again = hosted.pending.is_none();
            if self.view.has(before) && old.has(before) {
                self.say(before, Said::Leaves { slot });
            }
            self.announce(slot, again);
        }
    }

    /// A node is gone or has forgotten all: what it asked for is of no use, and what it was told is told again.
    pub(super) fn host_lost(&mut self, node: u64) {
        let useless: Vec<CallId> =
            self.host.work.iter().filter(|(_, work)| work.home == node).map(|(call, _)| *call).collect();
        for call in useless {
            self.host_interrupt(call, CancelMode::KillNoWait, Why::Canceled);
        }
        if self.view.has(node) {
            let forgotten = self.host.slots.iter().filter(|(_, hosted)| hosted.home == node);
            let forgotten: Vec<(u64, bool)> =
                forgotten.map(|(slot, hosted)| (*slot, hosted.pending.is_none())).collect();
            forgotten.into_iter().for_each(|(slot, again)| self.announce(slot, again));
        }
    }
}
