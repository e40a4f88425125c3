//! Sessions as the store knows them, and what happens inside the family of one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::{Filter, Grant, Message, MessageId, Principal, Qos, UnixMillis};

use super::queue::{Enqueue, QueueEnds};

/// Names a session or a share group within a realm: one slot family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    pub realm: Arc<str>,
    pub kind: SessionKind,
    /// The client id, or the whole filter of the group (`$share/<name>/<pattern>`).
    pub name: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionKind {
    Client,
    /// A share group is a queue and nothing else: made by its first enqueue, gone when empty.
    Group,
}

/// Who acts for a session: every protected write compares the fence with the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// A new one each time the session is made from nothing.
    pub generation: u64,
    /// Raised by each [`SessionOp::Open`]; the newest connection has the highest.
    pub fence: u64,
}

/// What happens inside one session family.
#[derive(Debug, Clone)]
pub enum SessionOp {
    /// Takes the session for a new connection: raises the fence, or makes it anew.
    Open(Open),
    /// Adds or replaces a subscription. Fenced.
    Subscribe { fence: Fence, filter: Filter, options: SubscriptionOptions },
    /// Removes a subscription; one that is not there is no error. Fenced.
    Unsubscribe { fence: Fence, filter: Filter },
    /// Appends to the session's queue unless the session is gone or re-made.
    Enqueue(Enqueue),
    /// A delivery is over (PUBACK, PUBCOMP, expired, moved on): its row goes. Fenced.
    Ack { fence: Fence, number: u64 },
    /// PUBREC came: the row keeps its number, its message goes. Fenced.
    Pubrec { fence: Fence, number: u64 },
    /// A row of a share group's queue has been moved to a member or dropped. Not fenced: groups have no owner.
    GroupAck { number: u64 },
    /// A QoS 2 PUBLISH came in under this packet id. Fenced.
    Receive { fence: Fence, packet_id: u16 },
    /// PUBREL came: the packet id is free for the next message. Fenced.
    Release { fence: Fence, packet_id: u16 },
    /// DISCONNECT without will: the will is forgotten (MQTT-3.14.4-3). Fenced.
    ClearWill { fence: Fence },
    /// The connection has ended: starts the clocks of will and expiry. Fenced.
    Detach { fence: Fence, detach: Detach },
    /// Moves the will to the outbox in one step. A will already moved is answered with the same entry. Compares the
    /// generation, and the fence too when one is given: a will that is due must not be that of who has come since.
    FireWill { generation: u64, fence: Option<u64> },
    /// The outbox entry was published at its destinations: forget it.
    OutboxDone { entry: u64 },
    /// The client has proved anew who it is: the owner is replaced; another user is refused. Fenced.
    Renew { fence: Fence, owner: Arc<Owner> },
    /// Ends the session: subscriptions, queue, will, everything but its outbox. Compares the
    /// generation, and the fence too when one is given (an expiry must not end a session that was
    /// opened again meanwhile).
    End { generation: u64, fence: Option<u64> },
}

/// What a new connection asks of its session.
#[derive(Debug, Clone)]
pub struct Open {
    /// Takes the place of the owner there was; another user's session is refused: [`Refusal::NotOwner`](super::Refusal::NotOwner).
    /// `None` counts as anonymous.
    pub owner: Option<Arc<Owner>>,
    pub clean_start: bool,
    /// Whether it shall outlive the connection. If not, the row is only kept for its will and is
    /// ended on detach, or at the next start of the store.
    pub persistent: bool,
    /// How long it outlives a connection that is lost with its node; `u32::MAX` = for ever.
    /// [`SessionOp::Detach`] has the last word.
    pub expiry_seconds: u32,
    pub will: Option<Will>,
}

/// Whose a session is, and what that rests on: what happens while its client is away is judged by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Owners are told apart by its user id alone; without one it is anonymous.
    pub principal: Arc<Principal>,
    /// `None` = written in the layout before this was kept: of the principal only the user id is known.
    pub grant: Option<Grant>,
}

impl Owner {
    /// The user id, if there is an owner and it has one.
    pub fn user_id(owner: Option<&Arc<Owner>>) -> Option<&Arc<str>> {
        owner?.principal.user_id.as_ref()
    }
}

/// A will message and its delay (MQTT-3.1.3.2.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Will {
    pub message: Arc<Message>,
    pub delay_seconds: u32,
    /// The will's own lifetime, counted from when it is published.
    pub expiry_seconds: Option<u32>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detach {
    pub at: UnixMillis,
    /// Deliveries up to this number were sent at least once: re-sends carry DUP.
    pub sent: u64,
    /// When the session ends; `None` = never. A session that is not persistent ends at once by `End`.
    pub expires_at: Option<UnixMillis>,
    /// When the will fires, if it is still there.
    pub will_at: Option<UnixMillis>,
}

/// A subscription as stored and mirrored (MQTT-3.8.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionOptions {
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub subscription_id: Option<u32>,
}

/// The session as its new connection finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub fence: Fence,
    /// State of an earlier connection is resumed (MQTT-3.2.2-2).
    pub present: bool,
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    pub queue: QueueEnds,
    /// Packet ids of QoS 2 messages taken over and not yet released.
    pub received: Vec<u16>,
    /// A will that the connection before had left, when this open replaces a session (clean start):
    /// it is in the outbox now and wants publishing. A resumed session's pending will is cancelled.
    pub fired: Option<OutboxEntry>,
}

/// A message that a family owes to the rest of the world, under the same id at every try.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEntry {
    pub entry: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
    /// Whose will it is, as the session's last connection gave it. `None` for a delayed message.
    pub owner: Option<Arc<Owner>>,
}
