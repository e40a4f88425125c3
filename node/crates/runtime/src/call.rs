//! What a handler is called with: borrowed, so that nothing is copied before it is in the guest's memory.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_model::{Properties, Qos, UnixMillis};

/// A message on its way into `handle` or `map`.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// What order and kv state go by; empty when there is none.
    pub key: &'a [u8],
    pub properties: Option<&'a Properties>,
    /// Its place in the stream, as text that sorts; none for a live binding.
    pub position: Option<&'a str>,
    /// The same at every attempt, and for no other message of the binding.
    pub id: (u64, u64),
    pub published_at: UnixMillis,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What the handler's clock says.
    pub now: UnixMillis,
    /// Whether clock and random follow from the message: the clock says `published_at`, random follows from `id`.
    pub is_deterministic: bool,
}

/// What `reduce` and `merge` take for time and chance, so that a replay computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the clock says: when the message was published.
    pub now: UnixMillis,
    /// The message's id; random follows from it.
    pub id: (u64, u64),
}

/// A value that comes (+1) or goes (-1).
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub value: &'a [u8],
    pub weight: i32,
}

/// Who acts, as middleware sees it.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub client_id: &'a str,
    /// Who it has proved to be; none = anonymous.
    pub user: Option<&'a str>,
    pub realm: &'a str,
    /// `mqtt`, `wamp`, `umf` or `sync`.
    pub protocol: &'a str,
    /// Address of the connection, without its port.
    pub address: &'a str,
}

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Publish,
    Subscribe,
}

/// A message on its way past middleware.
#[derive(Clone, Copy)]
pub struct Passing<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    pub properties: Option<&'a Properties>,
}

/// What a call needs of the broker: reads of kv. Writes come back with the call's outcome.
pub trait Host: Send + Sync {
    /// The value of one name under the call's key; `None` = it is not there. The call goes on waiting for at most its
    /// `wall_time`.
    fn read<'a>(&'a self, key: &'a [u8], name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>>;
}

/// The store does not answer; the handler is told `unavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer")]
pub struct Away;
