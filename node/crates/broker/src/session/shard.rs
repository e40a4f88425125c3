//! One session shard: opens and closes the sessions of its client ids, one after the other, so that
//! a client id lives once; keeps their keep-alive wheel.

mod opening;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;
use weir_model::{Reason, UnixMillis};
use weir_store::{Detach, Fence, OutboxEntry, Outcome, Refusal, SessionKey, SessionOp, Step};

use super::Session;
use super::directory::{Closing, Opened, Request, Shard};
use super::wheel::Wheel;

use crate::admin::EventKind;
use crate::broker::Broker;
use crate::clock;
use crate::ledger::Loss;
use crate::outbox::Bell;

pub struct ShardActor;

pub enum ShardMsg {
    Open {
        request: Arc<Request>,
        reply: oneshot::Sender<Result<Opened, Reason>>,
    },
    Close {
        closing: Arc<Closing>,
        reply: oneshot::Sender<()>,
    },
    FireWill {
        key: SessionKey,
        fence: Fence,
        reply: oneshot::Sender<()>,
    },
    Expire {
        key: SessionKey,
        fence: Fence,
        reply: oneshot::Sender<()>,
    },
    /// Its client has proved anew who it is.
    Renewed(Arc<Session>),
    Tick,
    Panic,
}

pub struct State {
    broker: Broker,
    shard: Arc<Shard>,
    wheel: Wheel,
    rechecked_ms: u64,
    /// Connections whose token ends, by its end and the connection's number.
    expiries: BTreeMap<(UnixMillis, u64), Weak<Session>>,
    /// The version of access by which the connected were let in, or judged again.
    access_version: u64,
}

impl Actor for ShardActor {
    type Msg = ShardMsg;
    type State = State;
    type Arguments = (Broker, Arc<Shard>);

    async fn pre_start(
        &self,
        _: ActorRef<ShardMsg>,
        (broker, shard): (Broker, Arc<Shard>),
    ) -> Result<State, ActorProcessingErr> {
        let wheel = Wheel::new(clock::now_ms());
        let now = clock::now_ms();
        let expiries = BTreeMap::new();
        let mut state = State { broker, shard, wheel, rechecked_ms: now, expiries, access_version: 0 };
        let online: Vec<_> = state.shard.table.lock().values().filter(|s| s.is_online()).cloned().collect();
        for session in online {
            state.wheel.watch(&session, session.connection());
            state.watch_expiry(&session);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<ShardMsg>,
        message: ShardMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMsg::Open { request, reply } => {
                let _ = reply.send(state.open(&request).await);
            }
            ShardMsg::Close { closing, reply } => {
                state.close(&closing).await;
                let _ = reply.send(());
            }
            ShardMsg::FireWill { key, fence, reply } => {
                if state.get(&key).is_none_or(|s| !s.is_online()) {
                    state.fire(&key, fence, SmallVec::new()).await;
                }
                let _ = reply.send(());
            }
            ShardMsg::Expire { key, fence, reply } => {
                state.expire(&key, fence).await;
                let _ = reply.send(());
            }
            ShardMsg::Renewed(session) => state.renewed(&session),
            ShardMsg::Tick => {
                for silent in state.wheel.turn(clock::now_ms()) {
                    silent.outbox.ring(Bell::KeepAlive);
                }
                state.recheck();
                state.judge_again();
            }
            ShardMsg::Panic => panic!("a fault test asked this session shard to panic"),
        }
        Ok(())
    }
}

impl State {
    fn get(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.shard.table.lock().get(&(key.realm.clone(), key.name.clone())).cloned()
    }

    /// Has connected persistent sessions look whether their queue holds more than they were told of.
    fn recheck(&mut self) {
        if clock::coarse_ms().saturating_sub(self.rechecked_ms) < self.broker.config().queue_look_ms {
            return;
        }
        self.rechecked_ms = clock::coarse_ms();
        let table = self.shard.table.lock();
        for session in table.values().filter(|s| s.stored.is_some() && s.is_online()) {
            session.outbox.ring(Bell::Recheck);
        }
    }

    fn watch_expiry(&mut self, session: &Arc<Session>) {
        if let Some(at) = session.identity().and_then(|identity| identity.expires_at) {
            self.expiries.insert((at, session.connection()), Arc::downgrade(session));
        }
    }

    /// Its identity may rest on what was taken away while it was being proved.
    fn renewed(&mut self, session: &Arc<Session>) {
        self.watch_expiry(session);
        if session.identity().is_some_and(|identity| !self.broker.access().still_holds(&identity)) {
            session.outbox.ring(Bell::Kick);
        }
    }

    fn forget_expiry(&mut self, session: &Session, connection: u64) {
        if let Some(at) = session.identity().and_then(|identity| identity.expires_at) {
            self.expiries.remove(&(at, connection));
        }
    }

    /// Ends connections whose token has ended, and, after a change of access, those whose identity
    /// rests on nothing any more. What the others may no longer have, routes leave out from then on, and
    /// what waits for them of it is dropped.
    fn judge_again(&mut self) {
        let now = clock::unix();
        while let Some(first) = self.expiries.first_entry().filter(|entry| entry.key().0 <= now) {
            let (_, connection) = *first.key();
            let session = first.remove().upgrade();
            let over = |session: &Arc<Session>| {
                session.is_attached_to(connection) && session.identity().is_some_and(|who| who.is_over(now))
            };
            if let Some(session) = session.filter(over) {
                session.outbox.ring(Bell::Kick);
            }
        }
        let version = self.broker.access().version();
        if std::mem::replace(&mut self.access_version, version) == version {
            return;
        }
        let access = self.broker.access();
        let online: Vec<_> = self.shard.table.lock().values().filter(|s| s.is_online()).cloned().collect();
        for session in online {
            match session.identity() {
                Some(identity) if !access.still_holds(&identity) => session.outbox.ring(Bell::Kick),
                _ => self.judge_waiting(&session),
            }
        }
    }

    /// QoS 0 copies that were encoded before a right to them was lost. The others are asked about when
    /// they are sent.
    fn judge_waiting(&self, session: &Session) {
        let (broker, form) = (&self.broker, self.broker.form(session.form()));
        let may = |topic: &str| session.may_receive(broker.access(), topic);
        let denied = session.outbox.judge_frames(form, broker.limits(), may);
        broker.ledger().lost_by(session.client_id(), "", Loss::Denied, denied);
    }

    async fn close(&mut self, closing: &Closing) {
        let session = &closing.session;
        if !session.detach(closing.connection) {
            return;
        }
        self.forget_expiry(session, closing.connection);
        self.broker.admin().events.tell(|| EventKind::Disconnected {
            realm: session.key.realm.clone(),
            client_id: session.key.name.clone(),
        });
        self.broker.desk().look_soon();
        let (lost, copies) = session.outbox.clear(0);
        self.broker.ledger().lost_by(session.client_id(), "", Loss::ConnectionLost, lost);
        self.broker.hand_on(&closing.realm, session, copies);
        if closing.expiry_seconds == 0 || session.stored.is_none() {
            self.end(closing).await;
        } else {
            self.detach(closing).await;
            self.broker.release_shared(&closing.realm, session);
        }
    }

    /// The session ends with its connection; its will fires now (MQTT-3.1.3-9).
    async fn end(&self, closing: &Closing) {
        let session = &closing.session;
        if session.stored.is_some() {
            self.broker.bequeath_shared(&closing.realm, session).await;
        }
        if let (Some(generation), Some(fence)) = (session.row, closing.fence) {
            let end = SessionOp::End { generation, fence: Some(fence.fence) };
            match closing.will {
                true => self.fire(&session.key, fence, smallvec![end]).await,
                false => self.submit(&session.key, smallvec![SessionOp::ClearWill { fence }, end]).await,
            };
        }
        self.shard.remove(session);
        let _ = self.broker.topics().leave(&closing.realm, session).await;
    }

    /// The session outlives its connection.
    async fn detach(&self, closing: &Closing) {
        let (session, Some(fence)) = (&closing.session, closing.fence) else { return };
        let at = clock::unix();
        let seconds = |s: u32| Duration::from_secs(u64::from(s));
        let forever = closing.expiry_seconds == u32::MAX;
        let waits = closing.will && closing.will_delay_seconds > 0;
        let detach = Detach {
            at,
            sent: closing.sent,
            expires_at: (!forever).then(|| at.after(seconds(closing.expiry_seconds))),
            will_at: waits.then(|| at.after(seconds(closing.will_delay_seconds))),
        };
        let detach = SessionOp::Detach { fence, detach };
        if closing.will && !waits {
            self.fire(&session.key, fence, smallvec![detach]).await;
        } else if closing.will {
            self.submit(&session.key, smallvec![detach]).await;
        } else {
            self.submit(&session.key, smallvec![SessionOp::ClearWill { fence }, detach]).await;
        }
    }

    async fn expire(&self, key: &SessionKey, fence: Fence) {
        let session = self.get(key);
        if session.as_ref().is_some_and(|s| s.is_online()) {
            return;
        }
        if let (Some(session), Some(realm)) = (&session, self.broker.realm(&key.realm)) {
            self.broker.bequeath_shared(&realm, session).await;
        }
        let end = SessionOp::End { generation: fence.generation, fence: Some(fence.fence) };
        if !self.fire(key, fence, smallvec![end]).await {
            return;
        }
        counter!("weir_broker_sessions_expired_total").increment(1);
        if let Some(session) = session
            && let Some(realm) = self.broker.realm(&key.realm)
        {
            self.shard.remove(&session);
            let _ = self.broker.topics().leave(&realm, &session).await;
        }
    }

    /// Moves the will of the connection with this fence to the outbox, together with `more`, and publishes it.
    async fn fire(&self, key: &SessionKey, fence: Fence, more: SmallVec<[SessionOp; 1]>) -> bool {
        let Fence { generation, fence } = fence;
        let mut ops: SmallVec<[SessionOp; 1]> =
            smallvec![SessionOp::FireWill { generation, fence: Some(fence) }];
        ops.extend(more);
        self.submit(key, ops).await
    }

    /// Submits ops for one session and publishes the wills they fired.
    async fn submit(&self, key: &SessionKey, ops: SmallVec<[SessionOp; 1]>) -> bool {
        let answer = self.broker.submit(vec![Step::Session { key: key.clone(), ops }]).await;
        match answer.into_iter().next() {
            Some(Ok(outcomes)) => {
                let fired = |outcome| match outcome {
                    Outcome::Fired(entry) => entry,
                    _ => None,
                };
                for entry in outcomes.into_iter().filter_map(fired) {
                    let entry: OutboxEntry = entry;
                    self.broker.publish_owed(key.clone(), entry);
                }
                true
            }
            Some(Err(Refusal::Fenced)) => {
                tracing::debug!(client_id = %key.name, "a newer connection has ended this session already");
                false
            }
            refused => {
                tracing::warn!(client_id = %key.name, ?refused, "the end of a session was not written");
                false
            }
        }
    }
}
