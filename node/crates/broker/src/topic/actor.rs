//! One topic shard: applies changes to its part of the routes, and makes that part anew when it was
//! lost, from every session's own list.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use weir_model::Filter;
use weir_store::SubscriptionOptions;

use super::{EXACT_SHARDS, owner_of_part};
use crate::broker::Broker;
use crate::realm::Realm;
use crate::session::Session;

pub struct TopicActor;

/// One change of one session's subscriptions. Applying it twice is the same as once.
pub enum Change {
    Insert { filter: Filter, options: SubscriptionOptions, known: bool },
    Remove { filter: Filter },
}

pub enum TopicMsg {
    Change { realm: Arc<Realm>, session: Arc<Session>, changes: Arc<Vec<Change>>, reply: oneshot::Sender<()> },
    Panic,
}

impl Actor for TopicActor {
    type Msg = TopicMsg;
    type State = bool;
    type Arguments = (Broker, usize);

    /// The state says whether this incarnation follows a failed one, whose half-done changes are
    /// then repeated from the sessions' lists: inserts may find themselves done.
    async fn pre_start(
        &self,
        _: ActorRef<TopicMsg>,
        (broker, shard): (Broker, usize),
    ) -> Result<bool, ActorProcessingErr> {
        let restarted = broker.note_topic_start(shard);
        if restarted {
            rebuild(&broker, shard);
        }
        Ok(restarted)
    }

    async fn handle(
        &self,
        _: ActorRef<TopicMsg>,
        message: TopicMsg,
        restarted: &mut bool,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TopicMsg::Change { realm, session, changes, reply } => {
                for change in changes.iter() {
                    match change {
                        Change::Insert { filter, options, known } => {
                            // The mirror may have inserted a stored session's.
                            let known = *known || *restarted || session.stored.is_some();
                            realm.routes.insert(filter, &session, *options, known);
                            if !session.has(filter) {
                                // It is over, or wants it no more, since the change was sent.
                                realm.routes.remove(filter, &session);
                            }
                        }
                        Change::Remove { filter } => realm.routes.remove(filter, &session),
                    }
                }
                let _ = reply.send(());
            }
            TopicMsg::Panic => panic!("a fault test asked this topic shard to panic"),
        }
        Ok(())
    }
}

fn rebuild(broker: &Broker, shard: usize) {
    let _alone = broker.peers().routes.write();
    for realm in broker.realms() {
        let subscriptions: Vec<_> = broker
            .sessions()
            .all(&realm.name)
            .into_iter()
            .chain(broker.peers().receivers(&realm.name))
            .flat_map(|session| {
                session
                    .subscriptions()
                    .into_iter()
                    .map(move |(filter, options)| (session.clone(), filter, options))
            })
            .collect();
        if shard == EXACT_SHARDS {
            realm.routes.rebuild_wildcards(&subscriptions);
        } else {
            realm.routes.rebuild_exact(|part| owner_of_part(part) == shard, &subscriptions);
        }
    }
}
