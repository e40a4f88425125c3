//! A session's handle on calls: what its connection says and takes. Dropped, the session takes no part any more.

use std::sync::Arc;

use super::dealer::Dealer;
use super::mailbox::{Delivery, Endpoint};
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
        Some(CallSession { broker: broker.clone(), dealer, endpoint, user, role })
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
        let who = (self.user.clone(), self.role.clone());
        let id = self.endpoint.id();
        let now_ms = clock::now_ms();
        self.dealer
            .with(&self.broker, |state| state.call(id, request, (topic, payload), options, who, now_ms))
    }

    /// Takes a call back. One that is over is left alone: its answer is on its way.
    pub fn cancel(&self, request: u64, mode: CancelMode) {
        let id = self.endpoint.id();
        self.dealer.with(&self.broker, |state| state.cancel(id, request, mode));
    }

    /// Registers a procedure; the answer comes by [`CallSession::take`].
    pub fn register(&self, request: u64, procedure: Procedure, options: RegisterOptions) {
        let id = self.endpoint.id();
        self.dealer.with(&self.broker, |state| state.register(id, request, procedure, options));
    }

    /// Gives a registration up; the answer comes by [`CallSession::take`].
    ///
    /// # Errors
    /// [`Misfit::NoSuchRegistration`].
    pub fn unregister(&self, request: u64, registration: u64) -> Result<(), Misfit> {
        let id = self.endpoint.id();
        self.dealer.with(&self.broker, |state| state.unregister(id, request, registration))
    }

    /// Answers an invocation.
    ///
    /// # Errors
    /// [`Misfit::NoSuchInvocation`]: it comes too late, or was never asked for; counted, and to be passed over.
    pub fn answer(&self, invocation: u64, answer: Answer) -> Result<(), Misfit> {
        let id = self.endpoint.id();
        self.dealer.with(&self.broker, |state| state.answer_invocation(id, invocation, answer))
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
        self.dealer.with(&self.broker, |state| state.leave(id));
    }
}
