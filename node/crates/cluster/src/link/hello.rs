//! The first words on a connection: who both ends are, and whether they may have a link.

use weir_net::peer::{NodeId, code};

use super::wire::{PROTOCOL, STREAMS_LISTED, Violation, proto};
use crate::links::LinkLocal;
use proto::control_frame::Frame;

/// Why there is no link with a node whose certificate is good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it belongs to cluster {theirs:?}, this is {ours:?}")]
    OtherCluster { theirs: String, ours: String },
    #[error("its store is {theirs:?}, ours is {ours:?}")]
    OtherStore { theirs: String, ours: String },
    #[error("it speaks link protocol {min} to {max}, this node {} to {}", PROTOCOL.0, PROTOCOL.1)]
    Version { min: u32, max: u32 },
    #[error("it says it is {says:?}, its certificate says {certificate}")]
    OtherName { says: String, certificate: NodeId },
    #[error("it is incarnation {theirs}, the member is {ours}")]
    Incarnation { theirs: u64, ours: u64 },
    #[error("it is no member here")]
    NotMember,
    #[error("the node with the smaller name dials, and that is this one")]
    Second,
    #[error("too many connections wait for their links")]
    Busy,
    #[error("it does not say who it is")]
    Silent,
    #[error(transparent)]
    Malformed(#[from] Violation),
}

impl Refusal {
    /// The number the connection is closed with.
    pub fn code(&self) -> u32 {
        match self {
            Refusal::OtherCluster { .. } => code::OTHER_CLUSTER,
            Refusal::OtherStore { .. } => code::OTHER_STORE,
            Refusal::Version { .. } => code::VERSION,
            Refusal::OtherName { .. } => code::NO_NAME,
            Refusal::Incarnation { .. } => code::OLD_INCARNATION,
            Refusal::NotMember => code::DEAD,
            Refusal::Second => code::SECOND,
            Refusal::Busy => code::BUSY,
            Refusal::Silent => code::MALFORMED,
            Refusal::Malformed(_) => code::MALFORMED,
        }
    }

    /// The label it is counted with.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::OtherCluster { .. } => "other_cluster",
            Refusal::OtherStore { .. } => "other_store",
            Refusal::Version { .. } => "version",
            Refusal::OtherName { .. } => "other_name",
            Refusal::Incarnation { .. } => "incarnation",
            Refusal::NotMember => "not_member",
            Refusal::Second => "second",
            Refusal::Busy => "busy",
            Refusal::Silent => "silent",
            Refusal::Malformed(_) => "malformed",
        }
    }
}

/// The first control frame, if it is a hello that fits this node; `certified` is the name in the certificate.
pub(crate) fn check(
    frame: proto::ControlFrame,
    local: &LinkLocal,
    certified: &NodeId,
) -> Result<proto::Hello, Refusal> {
    let Some(Frame::Hello(hello)) = frame.frame else {
        return Err(Violation::Message { what: "no hello" }.into());
    };
    let (min, max) = (hello.protocol_min, hello.protocol_max);
    if min > PROTOCOL.1 || max < PROTOCOL.0 {
        return Err(Refusal::Version { min, max });
    }
    if hello.cluster_id != *local.cluster_id {
        return Err(Refusal::OtherCluster { theirs: hello.cluster_id, ours: local.cluster_id.to_string() });
    }
    if hello.store_id != *local.store_id {
        return Err(Refusal::OtherStore { theirs: hello.store_id, ours: local.store_id.to_string() });
    }
    if hello.node_id != certified.as_str() {
        return Err(Refusal::OtherName { says: hello.node_id, certificate: certified.clone() });
    }
    let whole = hello.progress.as_ref().is_some_and(|progress| progress.heard.len() == STREAMS_LISTED);
    if !whole || hello.next.len() != STREAMS_LISTED {
        return Err(Violation::Message { what: "the hello lacks streams" }.into());
    }
    Ok(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> LinkLocal {
        LinkLocal {
            node_id: "b".parse().unwrap(),
            incarnation: 1,
            cluster_id: "weir".into(),
            store_id: "redis".into(),
            version: "1".into(),
        }
    }

    fn hello() -> proto::Hello {
        proto::Hello {
            protocol_min: 1,
            protocol_max: 9,
            cluster_id: "weir".to_owned(),
            node_id: "a".to_owned(),
            store_id: "redis".to_owned(),
            progress: Some(proto::Progress {
                heard: vec![Default::default(); STREAMS_LISTED],
                ..Default::default()
            }),
            next: vec![Default::default(); STREAMS_LISTED],
            ..Default::default()
        }
    }

    fn label_of(hello: proto::Hello) -> &'static str {
        let frame = proto::ControlFrame { frame: Some(Frame::Hello(hello)) };
        check(frame, &local(), &"a".parse().unwrap()).map_or_else(|refusal| refusal.label(), |_| "welcome")
    }

    #[test]
    fn whoever_does_not_fit_is_refused_by_name() {
        assert_eq!(label_of(hello()), "welcome");
        assert_eq!(label_of(proto::Hello { cluster_id: "other".to_owned(), ..hello() }), "other_cluster");
        assert_eq!(label_of(proto::Hello { store_id: "other".to_owned(), ..hello() }), "other_store");
        assert_eq!(label_of(proto::Hello { node_id: "c".to_owned(), ..hello() }), "other_name");
        assert_eq!(label_of(proto::Hello { protocol_min: 3, ..hello() }), "version");
        assert_eq!(label_of(proto::Hello { protocol_min: 0, protocol_max: 0, ..hello() }), "version");
        assert_eq!(label_of(proto::Hello { next: Vec::new(), ..hello() }), "malformed");
        assert_eq!(label_of(proto::Hello { progress: None, ..hello() }), "malformed");
    }

    #[test]
    fn other_words_than_a_hello_are_refused() {
        let frame = proto::ControlFrame { frame: Some(Frame::Resync(proto::Resync {})) };
        assert!(check(frame, &local(), &"a".parse().unwrap()).is_err());
    }
}
