//! Registrations come and go.

use super::super::{Change, Noted, State, Told};
use super::callee_gone;
use super::group::Callee;
use crate::calls::config::is_full;
use crate::calls::message::{Registering, Said};
use crate::calls::{ChangeKind, Invoke, Procedure, RegisterError};

impl State {
    pub(in crate::calls::state) fn home_register(&mut self, from: u64, slot: u64, registering: Registering) {
        if self.home.slots.contains_key(&(from, slot)) {
            // Told again, after a link was lost on one side.
            return self.say(from, Said::Registered { slot, result: Ok(()) });
        }
        let again = registering.again;
        let result = self.admit(from, slot, registering);
        match result {
            Err(_) if again => self.say(from, Said::Revoked { slot }),
            result => self.say(from, Said::Registered { slot, result }),
        }
    }

    fn admit(&mut self, node: u64, slot: u64, registering: Registering) -> Result<(), RegisterError> {
        let Registering { procedure, invoke, shares_always, force, again, since_ms, .. } = registering;
        let asked = procedure.clone();
        let mut known = self.home.group_of(&procedure);
        if let Some(group) = known
            && force
            && !again
        {
            self.revoke_all(group);
            known = None;
        }
        let is_first = known.is_none();
        let group = match known {
            Some(id) => {
                let Some(group) = self.home.groups.get(&id) else { return Err(RegisterError::Unavailable) };
                let shares = shares_always && group.shares_always;
                if !shares && group.invoke != invoke {
                    let either_single = invoke == Invoke::Single || group.invoke == Invoke::Single;
                    return Err(match either_single {
                        true => RegisterError::AlreadyExists,
                        false => RegisterError::OtherPolicy,
                    });
                }
                if !shares && invoke == Invoke::Single {
                    return Err(RegisterError::AlreadyExists);
                }
                id
            }
            None => {
                let is_wildcard = matches!(procedure, Procedure::Wildcard(_));
                if is_wildcard && is_full(self.home.wildcards(), self.config.wildcards_max) {
                    return Err(RegisterError::TooMany);
                }
                self.note(Noted::Created);
                self.home.add_group(&procedure, invoke, shares_always, since_ms)
            }
        };
        let Registering { concurrency, interruptible, session, .. } = registering;
        let callee = Callee { node, slot, concurrency, busy: 0, interruptible, session };
        if let Some(group) = self.home.groups.get_mut(&group) {
            group.callees.push(callee);
            // Those who come to a new home come in any order.
            group.created_ms = group.created_ms.min(since_ms);
        }
        self.home.slots.insert((node, slot), group);
        if !again {
            let kinds = [(ChangeKind::Created, is_first), (ChangeKind::Registered, true)];
            for (kind, _) in kinds.into_iter().filter(|(_, happened)| *happened) {
                let procedure = asked.clone();
                self.changes.push(Change { kind, procedure, invoke, created_ms: since_ms, session });
            }
        }
        self.release_held();
        self.pump(group);
        Ok(())
    }

    fn revoke_all(&mut self, group: u64) {
        let Some(group) = self.home.groups.get(&group) else { return };
        let callees: Vec<_> = group.callees.iter().map(|callee| (callee.node, callee.slot)).collect();
        for (node, slot) in callees {
            self.note(Noted::Revoked);
            self.say(node, Said::Revoked { slot });
            self.home_unregister(node, slot, Told::ToAll);
        }
    }

    /// A callee has none of it any more. What it is at work on it may still answer.
    pub(in crate::calls::state) fn home_unregister(&mut self, node: u64, slot: u64, told: Told) {
        let Some(id) = self.home.slots.remove(&(node, slot)) else { return };
        let Some(group) = self.home.groups.get_mut(&id) else { return };
        let session = group.callee(node, slot).map(|callee| callee.session);
        group.remove(node, slot);
        if let Some(session) = session.filter(|_| told == Told::ToAll) {
            let (procedure, invoke, created_ms) = (group.procedure.clone(), group.invoke, group.created_ms);
            let kinds = [(ChangeKind::Unregistered, true), (ChangeKind::Deleted, group.callees.is_empty())];
            for (kind, _) in kinds.into_iter().filter(|(_, happened)| *happened) {
                self.changes.push(Change { kind, procedure: procedure.clone(), invoke, created_ms, session });
            }
        }
        if !group.callees.is_empty() {
            return;
        }
        self.note(Noted::Deleted);
        for call in self.home.remove_group(id) {
            self.dispatch_again(call);
        }
    }

    /// A node is gone: so are its callees and its callers.
    pub(in crate::calls::state) fn home_lost(&mut self, lost: u64) {
        let slots: Vec<u64> =
            self.home.slots.keys().filter(|(node, _)| *node == lost).map(|(_, slot)| *slot).collect();
        // A node that is still there has only lost this one from sight, and registers again.
        let told = if self.view.has(lost) { Told::ToNobody } else { Told::ToAll };
        slots.into_iter().for_each(|slot| self.home_unregister(lost, slot, told));
        for call in self.home.handed_on.lost_with(lost) {
            // It may not have come there. Whoever has been answered passes it over.
            self.say(call.node, Said::Answered { call, answer: callee_gone() });
        }
        let calls: Vec<_> = self.home.calls.keys().copied().collect();
        for call in calls {
            let runs_there = self.home.runs_at(call, lost);
            if runs_there {
                self.home_end(call, callee_gone());
            } else if call.node == lost {
                self.home_caller_gone(call);
            }
        }
    }

    pub(in crate::calls::state) fn home_settled(&mut self, settled: bool) {
        self.home.settled = settled;
        if settled {
            self.release_held();
        }
    }
}
