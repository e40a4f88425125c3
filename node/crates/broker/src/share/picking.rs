//! How the members of a share group take turns.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::routes::members::Member;

/// Which member of a share group is asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Picking {
    /// One after the other; another node is asked as often as it has members.
    #[default]
    RoundRobin,
    /// Those connected to the node a message enters, as long as there are any.
    Local,
    /// The same one as long as it can take messages.
    Sticky,
    /// The same one for a topic, whatever node it enters, as long as the members stay the same.
    Hash,
}

impl Picking {
    /// The places of the members, in the order they are asked. `here`: only those of this node have turns.
    pub(super) fn order(
        self,
        members: &[Member],
        turn: usize,
        topic: &str,
        here: bool,
    ) -> SmallVec<[usize; 8]> {
        let from = |start: usize| (0..members.len()).map(move |i| (start + i) % members.len());
        match self {
            Picking::RoundRobin => from(in_turn(members, turn, here)).collect(),
            Picking::Sticky => from(turn % members.len().max(1)).collect(),
            Picking::Local => {
                let away =
                    |at: &usize| !members[*at].session.is_online() || members[*at].session.peer.is_some();
                let mut order: SmallVec<[usize; 8]> = from(in_turn(members, turn, here)).collect();
                order.sort_by_key(away);
                order
            }
            Picking::Hash => {
                let mut order: SmallVec<[usize; 8]> = (0..members.len()).collect();
                order.sort_by_cached_key(|at| score(&members[*at].session.key.name, topic));
                order
            }
        }
    }
}

/// The place whose turn it is, when each has as many turns as it stands for members, and who is away none.
fn in_turn(members: &[Member], turn: usize, here: bool) -> usize {
    let turns = |member: &Member| match &member.session {
        session if here && (session.peer.is_some() || !session.is_online()) => 0,
        session if session.is_online() || session.home().is_some() => member.weight(),
        _ => 0,
    };
    let total: usize = members.iter().map(turns).sum();
    let mut left = turn % total.max(1);
    for (at, member) in members.iter().enumerate() {
        match left.checked_sub(turns(member)) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    0
}

/// Rendezvous hashing: when a member goes, only its topics move.
fn score(member: &str, topic: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic.as_bytes());
    hasher.update(&[0]);
    hasher.update(member.as_bytes());
    // A CRC alone is linear: topics that differ in a bit would order the members alike.
    let mixed = hasher.finalize().wrapping_mul(0x9E37_79B1);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA77)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_store::{SessionKey, SessionKind, SubscriptionOptions};

    use super::*;
    use crate::session::Session;

    fn members(online: &[bool]) -> Vec<Member> {
        let member = |(n, online): (usize, &bool)| {
            let name: Arc<str> = format!("client-{n}").into();
            let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name };
            let session = Session::new(key, None, None);
            if *online {
                session.attach(1, 0, 0);
            }
            Member { session, options: SubscriptionOptions::default() }
        };
        online.iter().enumerate().map(member).collect()
    }

    #[test]
    fn members_here_are_asked_before_others() {
        let members = members(&[false, true, false, true]);
        for turn in 0..8 {
            let mut first = Picking::Local.order(&members, turn, "t", false)[..2].to_vec();
            first.sort_unstable();
            assert_eq!(first, [1, 3]);
        }
    }

    #[test]
    fn who_is_away_has_no_turns() {
        let members = members(&[false, true, false, true, false]);
        let first = |turn| Picking::RoundRobin.order(&members, turn, "t", true)[0];
        assert_eq!([first(0), first(1), first(2), first(3)], [1, 3, 1, 3]);
    }

    #[test]
    fn a_topic_keeps_its_member_and_topics_are_spread() {
        let members = members(&[true; 4]);
        let mut first = [0; 4];
        for topic in (0..4000).map(|n| format!("sensor/{n}")) {
            let order = Picking::Hash.order(&members, 1, &topic, false);
            assert_eq!(order, Picking::Hash.order(&members, 2, &topic, false));
            first[order[0]] += 1;
        }
        assert!(first.iter().all(|n| (700..1300).contains(n)), "{first:?}");
    }

    #[test]
    fn without_members_nobody_is_asked() {
        for how in [Picking::RoundRobin, Picking::Local, Picking::Sticky, Picking::Hash] {
            assert!(how.order(&[], 3, "t", false).is_empty());
        }
    }
}
