//! A session's handle on calls: what its connection says and takes. Dropped, the session takes no part any more.

use std::sync::Arc;

use parking_lot::Mutex;

use super::dealer::Dealer;
use super::mailbox::{Delivery, Endpoint};
use super::state::State;
use super::{Answer, CallOptions, CancelMode, Misfit, Payload, Procedure, RegisterOptions};
use crate::broker::Broker;
use crate::clock;
use crate::outbox::Bell;
use crate::session::Session;

/// One session's part in calls. Made with its first message about them: a session without costs nothing.
pub struct CallSession {
    broker: Broker,
    dealer: Arc<Dealer>,
    endpoint: Arc<Endpoint>,
    user: Option<Arc<str>>,
    role: Option<Arc<str>>,
    gathered: Mutex<Gathered>,
}

/// Calls and answers that are to be said together: at most what one read of the session's connection brings.
#[derive(Default)]
struct Gathered {
    gathers: bool,
    asked: Vec<Asked>,
    misfit: Option<Misfit>,
}

enum Asked {
    Call { request: u64, topic: Arc<str>, payload: Payload, options: CallOptions },
    Answer { invocation: u64, answer: Answer },
}

impl CallSession {
    /// `public`: the number others know the session by; `interruptible`: whether it can be told to stop; `role`: what
    /// callees are told that it is. `None` = its realm is one too many.
    pub fn open(
        broker: &Broker,
        session: &Arc<Session>,
        public: u64,
        interruptible: bool,
        role: Option<Arc<str>>,
    ) -> Option<CallSession> {
        let dealer = broker.calls().dealer(&session.key.realm)?;
        let bytes_max = broker.calls().config().mailbox_bytes_max;
        let rung = Arc::downgrade(session);
        let ring = move || {
            if let Some(session) = rung.upgrade() {
                session.outbox.ring(Bell::Progress);
            }
        };
        let endpoint = Endpoint::new(public, interruptible, bytes_max, ring);
        dealer.with(broker, |state| state.join(endpoint.clone()));
        let user = session.identity().and_then(|identity| identity.principal.user_id.clone());
        let gathered = Mutex::default();
        Some(CallSession { broker: broker.clone(), dealer, endpoint, user, role, gathered })
    }

    /// Calls the procedure that a canonical topic names; the answer comes by [`CallSession::take`]. Further arguments
    /// of a call that announced them come under the same number.
    ///
    /// # Errors
    /// [`Misfit::RequestInUse`].
    pub fn call(
        &self,
        request: u64,
        topic: Arc<str>,
        payload: Payload,
        options: CallOptions,
    ) -> Result<(), Misfit> {
        self.ask(Asked::Call { request, topic, payload, options })
    }

    /// From now on calls and answers wait for [`CallSession::say_gathered`], or for anything else that is said: all that
    /// one read brings is then done in one go.
    pub fn gather(&self) {
        self.gathered.lock().gathers = true;
    }

    /// Says what was gathered, and gathers no more.
    ///
    /// # Errors
    /// [`Misfit::RequestInUse`], of one of the calls. An answer that comes too late is passed over.
    pub fn say_gathered(&self) -> Result<(), Misfit> {
        let mut gathered = self.gathered.lock();
        gathered.gathers = false;
        if !gathered.asked.is_empty() {
            drop(gathered);
            self.with(|_| ());
            gathered = self.gathered.lock();
        }
        gathered.misfit.take().map_or(Ok(()), Err)
    }

    fn ask(&self, asked: Asked) -> Result<(), Misfit> {
        let mut gathered = self.gathered.lock();
        if gathered.gathers {
            gathered.asked.push(asked);
            return Ok(());
        }
        drop(gathered);
        self.with(|state| self.put(state, asked))
    }

    fn put(&self, state: &mut State, asked: Asked) -> Result<(), Misfit> {
        let id = self.endpoint.id();
        match asked {
            Asked::Call { request, topic, payload, options } => {
                let who = (self.user.clone(), self.role.clone());
                state.call(id, request, (topic, payload), options, who, clock::now_ms())
            }
            Asked::Answer { invocation, answer } => state.answer_invocation(id, invocation, answer),
        }
    }

    /// Does something to the state, behind what was gathered.
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let gathered = std::mem::take(&mut self.gathered.lock().asked);
        self.dealer.with(&self.broker, |state| {
            for asked in gathered {
                let is_call = matches!(asked, Asked::Call { .. });
                if let Err(misfit) = self.put(state, asked)
                    && is_call
                {
                    self.gathered.lock().misfit = Some(misfit);
                }
            }
            act(state)
        })
    }

    /// Takes a call back. One that is over is left alone: its answer is on its way.
    pub fn cancel(&self, request: u64, mode: CancelMode) {
        let id = self.endpoint.id();
        self.with(|state| state.cancel(id, request, mode));
    }

    /// Registers a procedure; the answer comes by [`CallSession::take`].
    pub fn register(&self, request: u64, procedure: Procedure, options: RegisterOptions) {
        let id = self.endpoint.id();
        self.with(|state| state.register(id, request, procedure, options));
    }

    /// Gives a registration up; the answer comes by [`CallSession::take`].
    ///
    /// # Errors
    /// [`Misfit::NoSuchRegistration`].
    pub fn unregister(&self, request: u64, registration: u64) -> Result<(), Misfit> {
        let id = self.endpoint.id();
        self.with(|state| state.unregister(id, request, registration))
    }

    /// Answers an invocation.
    ///
    /// # Errors
    /// [`Misfit::NoSuchInvocation`]: it comes too late, or was never asked for; counted, and to be passed over.
    pub fn answer(&self, invocation: u64, answer: Answer) -> Result<(), Misfit> {
        self.ask(Asked::Answer { invocation, answer })
    }

    /// The oldest that is to be written to the session; its connection is woken when there is something again.
    pub fn take(&self) -> Option<Delivery> {
        self.endpoint.take()
    }

    /// Whether something is to be written.
    pub fn has_some(&self) -> bool {
        self.endpoint.has_some()
    }
}

impl Drop for CallSession {
    fn drop(&mut self) {
        let id = self.endpoint.id();
        self.with(|state| state.leave(id));
    }
}
