//! What comes over the links, for whoever takes it: the broker.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_model::Filter;

use super::Link;
use crate::interest::Digest;

/// Takes what peers send. One stream of a link calls in order and one at a time; several streams and
/// links call at once. No call may block the thread.
pub trait Inbox: Send + Sync {
    /// There is a link to a peer, up or not yet. Comes before anything else of it.
    fn linked(&self, link: &Arc<Link>) {
        let _ = link;
    }

    /// What the peer wants has changed, or the link is over for good ([`InterestChanges::Gone`]): its slot
    /// is given to another peer after this call.
    fn interest(&self, link: &Arc<Link>, changes: InterestChanges<'_>);

    /// The sum over all the peer wants as it stands here, kept where it is stored; `None` = not kept, and
    /// only the changes are compared.
    fn interest_digest(&self, link: &Arc<Link>) -> Option<Digest> {
        let _ = link;
        None
    }

    /// Takes a run of records ([`crate::Records`]). It counts as received when this returns; the future is
    /// back-pressure: the stream gives nothing more before it is done. What is kept of `run` keeps the 64 KiB
    /// it was read into; copy what stays.
    fn records(&self, link: &Arc<Link>, run: Bytes) -> Option<BoxFuture<'static, ()>>;

    /// Takes a notice. Notices keep their order among themselves, not with records.
    fn control(&self, link: &Arc<Link>, control: Control);

    /// Takes messages about calls, in order.
    fn calls(&self, link: &Arc<Link>, messages: &[Bytes]) {
        let _ = (link, messages);
    }

    /// Waits until this node's mirror of the store has what was written before the call. It is
    /// dropped and called again when that takes longer than a second.
    fn caught_up(&self) -> BoxFuture<'static, ()>;
}

/// How a peer's interest changes.
#[derive(Debug, Clone, Copy)]
pub enum InterestChanges<'a> {
    /// All follows anew: what no `Changed` names before `FullEnd` is wanted no more. It may begin anew
    /// before it ends.
    Full,
    FullEnd,
    /// In order; one filter may come twice.
    Changed(&'a [InterestChange]),
    /// The link is over for good.
    Gone,
}

/// One filter that a peer wants, or wants no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterestChange {
    pub realm: Arc<str>,
    pub filter: Filter,
    /// 0: wanted no more. 1 for a plain filter; for a shared one how many members the peer has.
    pub members: u32,
}

/// A notice from node to node, in order and once, like a record that must arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The client has its session at the sender now: whoever has it, by an older fence, has it no more.
    TakenOver { realm: Arc<str>, client_id: Arc<str>, generation: u64, fence: u64 },
    /// There is something in the session's queue that was not sent over the link.
    LookInQueue { realm: Arc<str>, client_id: Arc<str> },
    /// A QoS 1 or 2 message of this topic was not sent: clean sessions that wanted it at that QoS end (0x97).
    EndClean { realm: Arc<str>, topic: Arc<str> },
    /// So many records or notices that should have come never will (at least): every session looks in its
    /// queue, and clean ones with QoS 1 or 2 subscriptions end.
    Missed { messages: u64 },
    /// What only the receiver understands, by kind.
    Note { kind: u32, body: Bytes },
}
