//! What a call and its answer carry: arguments as they came, and how they are to be read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Arguments in whatever serialization their sender speaks; nothing here looks into them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The serialization, as the gateways number theirs.
    pub format: u8,
    /// The list of positional arguments.
    pub args: Option<Bytes>,
    /// The map of named ones.
    pub kwargs: Option<Bytes>,
    /// Set when the arguments are sealed for the other end (WAMP, "Payload Passthru Mode").
    pub sealed: Option<Box<Sealed>>,
}

/// How a sealed payload is to be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub scheme: Option<Arc<str>>,
    pub serializer: Option<Arc<str>>,
    pub cipher: Option<Arc<str>>,
    pub key_id: Option<Arc<str>>,
}

impl Payload {
    pub fn size_bytes(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.args) + bytes(&self.kwargs)
    }
}

/// No content: it may be in a log.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload(format {}, {} bytes)", self.format, self.size_bytes())
    }
}
