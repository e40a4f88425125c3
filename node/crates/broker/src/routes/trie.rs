//! The wildcard trie: one node per level, `+` and `#` beside the literal children.
//!
//! Nodes stand in one vector and levels are numbers, because filters can be made so that a topic passes
//! very many nodes: what each of them costs is what such an attack costs.

mod levels;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::members::Members;
use levels::{Level, Levels};

/// A node's place.
type Place = u32;

const ROOT: Place = 0;

/// No node: nothing leads back to the root.
const NONE: Place = ROOT;

#[derive(Default)]
struct Node {
    children: Children,
    plus: Place,
    /// Subscribers of `<here>/#`.
    rest: Option<Box<Members>>,
    /// Subscribers of exactly the path to here.
    here: Option<Box<Members>>,
}

/// Most nodes have one literal child.
#[derive(Default)]
enum Children {
    #[default]
    None,
    One(Level, Place),
    Many(Box<HashMap<Level, Place>>),
}

/// All filters with a wildcard of one realm.
pub struct Trie {
    /// The root first.
    nodes: Vec<Node>,
    free: Vec<Place>,
    levels: Levels,
}

impl Default for Trie {
    fn default() -> Trie {
        Trie { nodes: vec![Node::default()], free: Vec::new(), levels: Levels::default() }
    }
}

impl Trie {
    /// Edits the members of `pattern`, made if absent and removed if left empty.
    pub fn change<T>(&mut self, pattern: &str, edit: impl FnOnce(&mut Members) -> T) -> T {
        let mut path: SmallVec<[(Place, &str); 16]> = SmallVec::new();
        let (mut at, mut rest) = (ROOT, false);
        for text in pattern.split('/') {
            if text == "#" {
                rest = true;
                break;
            }
            path.push((at, text));
            at = self.child_or_new(at, text);
        }
        let node = &mut self.nodes[at as usize];
        let edited = edit_slot(if rest { &mut node.rest } else { &mut node.here }, edit);
        while let Some((parent, text)) = path.pop().filter(|_| self.nodes[at as usize].is_empty()) {
            self.remove_child(parent, text);
            self.free.push(at);
            at = parent;
        }
        edited
    }

    pub fn get(&self, pattern: &str) -> Option<&Members> {
        let mut node = &self.nodes[ROOT as usize];
        for text in pattern.split('/') {
            let place = match text {
                "#" => return node.rest.as_deref(),
                "+" => node.plus,
                literal => node.children.get(self.levels.get(literal)?),
            };
            node = self.node(place)?;
        }
        node.here.as_deref()
    }

    /// Calls `found` for the members of every filter that matches `topic`; false when there were more
    /// than `nodes_max` nodes to pass, and some were left out.
    pub fn visit<'a>(&'a self, topic: &str, nodes_max: usize, found: &mut dyn FnMut(&'a Members)) -> bool {
        let levels: SmallVec<[Option<Level>; 16]> =
            topic.split('/').map(|text| self.levels.get(text)).collect();
        let literal =
            |node: &Node, depth: usize| levels[depth].map_or(NONE, |level| node.children.get(level));
        let mut open: SmallVec<[(Place, usize); 32]> = SmallVec::new();
        if weir_model::topic::is_reserved(topic) {
            // No wildcard means it by its first level (MQTT-4.7.2-1).
            open.push((literal(&self.nodes[ROOT as usize], 0), 1));
        } else {
            self.pass(&self.nodes[ROOT as usize], 0, &literal, &mut open, found);
        }
        let mut nodes = 0;
        while let Some((place, depth)) = open.pop() {
            nodes += 1;
            if nodes > nodes_max {
                return false;
            }
            let Some(node) = self.node(place) else { continue };
            if depth < levels.len() {
                self.pass(node, depth, &literal, &mut open, found);
                continue;
            }
            [&node.rest, &node.here].into_iter().flatten().for_each(|members| found(members));
        }
        true
    }

    /// A topic passes a node and has more levels.
    #[inline]
    fn pass<'a>(
        &self,
        node: &'a Node,
        depth: usize,
        literal: &impl Fn(&Node, usize) -> Place,
        open: &mut SmallVec<[(Place, usize); 32]>,
        found: &mut dyn FnMut(&'a Members),
    ) {
        if let Some(members) = &node.rest {
            found(members);
        }
        let next = [literal(node, depth), node.plus];
        open.extend(next.into_iter().filter(|place| *place != NONE).map(|place| (place, depth + 1)));
    }

    fn node(&self, place: Place) -> Option<&Node> {
        (place != NONE).then(|| &self.nodes[place as usize])
    }

    fn child_or_new(&mut self, parent: Place, text: &str) -> Place {
        let node = &self.nodes[parent as usize];
        let known = match text {
            "+" => node.plus,
            literal => self.levels.get(literal).map_or(NONE, |level| node.children.get(level)),
        };
        if known != NONE {
            return known;
        }
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            (self.nodes.len() - 1) as Place
        });
        match text {
            "+" => self.nodes[parent as usize].plus = child,
            literal => {
                let level = self.levels.take(literal);
                self.nodes[parent as usize].children.insert(level, child);
            }
        }
        child
    }

    fn remove_child(&mut self, parent: Place, text: &str) {
        let node = &mut self.nodes[parent as usize];
        if text == "+" {
            node.plus = NONE;
        } else if let Some(level) = self.levels.get(text) {
            node.children.remove(level);
            self.levels.give_back(text);
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        let has_children = self.plus != NONE || !matches!(self.children, Children::None);
        !has_children && self.rest.is_none() && self.here.is_none()
    }
}

impl Children {
    #[inline]
    fn get(&self, level: Level) -> Place {
        match self {
            Children::One(known, place) if *known == level => *place,
            Children::Many(places) => places.get(&level).copied().unwrap_or(NONE),
            _ => NONE,
        }
    }

    fn insert(&mut self, level: Level, place: Place) {
        match self {
            Children::None => *self = Children::One(level, place),
            Children::One(known, other) => {
                *self = Children::Many(Box::new(HashMap::from_iter([(*known, *other), (level, place)])));
            }
            Children::Many(places) => drop(places.insert(level, place)),
        }
    }

    fn remove(&mut self, level: Level) {
        match self {
            Children::One(known, _) if *known == level => *self = Children::None,
            Children::Many(places) => {
                places.remove(&level);
                let mut left = places.iter();
                match (left.next(), left.next()) {
                    (None, _) => *self = Children::None,
                    (Some((level, place)), None) => *self = Children::One(*level, *place),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn edit_slot<T>(slot: &mut Option<Box<Members>>, edit: impl FnOnce(&mut Members) -> T) -> T {
    let members = slot.get_or_insert_default();
    let edited = edit(members);
    if members.is_empty() {
        *slot = None;
    }
    edited
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::Filter;
    use weir_store::{SessionKey, SessionKind, SubscriptionOptions};

    use super::*;
    use crate::session::Session;

    fn session() -> Arc<Session> {
        let key = SessionKey { realm: "r".into(), kind: SessionKind::Client, name: "s".into() };
        Session::new(key, None, None)
    }

    fn matching(trie: &Trie, topic: &str) -> usize {
        let mut count = 0;
        assert!(trie.visit(topic, usize::MAX, &mut |members| count += members.plain().len()));
        count
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_and_its_place_is_used_again() {
        let (mut trie, session) = (Trie::default(), session());
        let filters: Vec<Filter> = (0..200)
            .map(|n| Filter::new(&format!("a{}/+/b{n}/{}", n % 7, ["#", "+", "c"][n % 3])).unwrap())
            .collect();
        let mut nodes = 0;
        for _ in 0..3 {
            for filter in &filters {
                let options = SubscriptionOptions::default();
                trie.change(filter.pattern(), |members| members.insert(&session, options, false));
                assert!(trie.get(filter.pattern()).is_some());
            }
            assert_eq!((matching(&trie, "a0/x/b0"), matching(&trie, "a1/x/b1/y")), (1, 1));
            nodes = trie.nodes.len().max(nodes);
            for filter in &filters {
                trie.change(filter.pattern(), |members| members.remove(&session));
                assert!(trie.get(filter.pattern()).is_none());
            }
            assert_eq!((trie.free.len() + 1, trie.nodes.len()), (nodes, nodes));
            assert_eq!((matching(&trie, "a0/x/b0"), trie.levels.get("b0")), (0, None));
        }
    }

    #[test]
    fn a_topic_that_passes_too_many_nodes_is_given_up() {
        let (mut trie, session) = (Trie::default(), session());
        for number in 0..1u32 << 10 {
            let level = |bit: u32| if number >> bit & 1 == 0 { "a" } else { "+" };
            let filter = Filter::new(&(0..10).map(level).collect::<Vec<_>>().join("/")).unwrap();
            let options = SubscriptionOptions::default();
            trie.change(filter.pattern(), |members| members.insert(&session, options, false));
        }
        let nodes = (1 << 11) - 2;
        assert!(trie.visit("a/a/a/a/a/a/a/a/a/a", nodes, &mut |_| {}));
        assert!(!trie.visit("a/a/a/a/a/a/a/a/a/a", nodes - 1, &mut |_| {}));
        assert!(trie.visit("b/b/b/b/b/b/b/b/b/b", 10, &mut |_| {}));
    }

    #[test]
    fn leaving_what_was_never_there_changes_nothing() {
        let mut trie = Trie::default();
        trie.change("a/+/b", |_| {});
        assert!(trie.get("a/+/b").is_none());
        assert_eq!(trie.free.len() + 1, trie.nodes.len());
        assert_eq!(trie.levels.get("a"), None);
    }
}
