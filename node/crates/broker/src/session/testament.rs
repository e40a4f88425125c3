//! Testaments: messages that a session leaves behind, as many as it likes, added and taken back while it lives.
//!
//! Each has a row of its own in the store beside its session's, as the will of a session that ends with its connection: so
//! it outlives the node, and whoever ends the sessions of a lost node publishes it (`guarantees.md` 4).

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use weir_model::{Message, Reason};
use weir_store::{Fence, Open, Outcome, Refusal, SessionKey, SessionOp, Step, Will};

use super::{Session, owner};
use crate::broker::Broker;

/// Stands between the name of a session and the number of its testament.
const BETWEEN: &str = "/testament/";

/// A testament in the store.
#[derive(Debug, Clone)]
pub struct Testament {
    key: SessionKey,
    fence: Fence,
}

/// Whether a row is that of a testament, by its name.
pub fn is_testament(key: &SessionKey) -> bool {
    key.name.contains(BETWEEN)
}

impl Broker {
    /// Keeps a message that is to be published when the session is over, by whatever node. `number`: another one for each
    /// of the session. Whether its owner may publish it is asked again then.
    ///
    /// # Errors
    /// [`Reason::Unavailable`]: the store is away; [`Reason::Quota`]: it has no room.
    pub async fn keep_testament(
        &self,
        session: &Session,
        number: u64,
        message: Arc<Message>,
    ) -> Result<Testament, Reason> {
        let key = SessionKey {
            name: format!("{}{BETWEEN}{number}", session.key.name).into(),
            ..session.key.clone()
        };
        let will = Will { message, delay_seconds: 0, expiry_seconds: None };
        let open = SessionOp::Open(Open {
            owner: session.identity().map(|identity| owner::kept(&identity)),
            clean_start: true,
            persistent: false,
            expiry_seconds: 0,
            will: Some(will),
        });
        let answer = self.submit(vec![Step::Session { key: key.clone(), ops: smallvec![open] }]).await;
        match answer.into_iter().next().unwrap_or(Err(Refusal::Unknown)) {
            Ok(outcomes) => match outcomes.into_iter().next() {
                Some(Outcome::Opened(opened)) => Ok(Testament { key, fence: opened.fence }),
                _ => Err(Reason::Unavailable),
            },
            Err(Refusal::DiskFull | Refusal::StoreFull | Refusal::TooLarge) => Err(Reason::Quota),
            Err(_) => Err(Reason::Unavailable),
        }
    }

    /// The session is over: publishes them, in the order they are given.
    pub async fn publish_testaments(&self, testaments: Vec<Testament>) {
        self.end_testaments(testaments, true).await;
    }

    /// They are not to be published any more.
    pub async fn drop_testaments(&self, testaments: Vec<Testament>) {
        self.end_testaments(testaments, false).await;
    }

    async fn end_testaments(&self, testaments: Vec<Testament>, fires: bool) {
        let step = |Testament { key, fence }: &Testament| {
            let Fence { generation, fence: number } = *fence;
            let mut ops: SmallVec<[SessionOp; 1]> = smallvec![match fires {
                true => SessionOp::FireWill { generation, fence: Some(number) },
                false => SessionOp::ClearWill { fence: *fence },
            }];
            ops.push(SessionOp::End { generation, fence: Some(number) });
            Step::Session { key: key.clone(), ops }
        };
        if testaments.is_empty() {
            return;
        }
        let answer = self.submit(testaments.iter().map(step).collect()).await;
        for (testament, outcomes) in testaments.iter().zip(answer) {
            match outcomes {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        if let Outcome::Fired(Some(entry)) = outcome {
                            self.publish_owed(testament.key.clone(), entry);
                        }
                    }
                }
                Err(refusal) => {
                    tracing::warn!(client_id = %testament.key.name, %refusal, "the end of a testament was not written");
                }
            }
        }
    }
}
