//! The wildcard trie: one node per level, `+` and `#` beside the literal children.

use hashbrown::HashMap;

use super::members::Members;

#[derive(Default)]
struct Node {
    children: HashMap<Box<str>, Box<Node>>,
    plus: Option<Box<Node>>,
    /// Subscribers of `<here>/#`.
    rest: Option<Box<Members>>,
    /// Subscribers of exactly the path to here.
    here: Option<Box<Members>>,
}

/// All filters with a wildcard of one realm.
#[derive(Default)]
pub struct Trie {
    root: Node,
}

impl Trie {
    /// Edits the members of `pattern`, made if absent and removed if left empty.
    pub fn change(&mut self, pattern: &str, edit: impl FnOnce(&mut Members)) {
        self.root.change(Some(pattern), edit);
    }

    pub fn get(&self, pattern: &str) -> Option<&Members> {
        let mut node = &self.root;
        for level in pattern.split('/') {
            node = match level {
                "#" => return node.rest.as_deref(),
                "+" => node.plus.as_deref()?,
                literal => node.children.get(literal)?,
            };
        }
        node.here.as_deref()
    }

    /// Calls `found` for the members of every filter that matches `topic`.
    pub fn visit<'a>(&'a self, topic: &str, found: &mut dyn FnMut(&'a Members)) {
        if weir_model::topic::is_reserved(topic) {
            let (first, rest) = split(topic);
            if let Some(node) = self.root.children.get(first) {
                node.visit(rest, found);
            }
            return;
        }
        self.root.visit(Some(topic), found);
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    }
}

impl Node {
    fn change(&mut self, path: Option<&str>, edit: impl FnOnce(&mut Members)) {
        let Some(path) = path else { return edit_slot(&mut self.here, edit) };
        match split(path) {
            ("#", _) => edit_slot(&mut self.rest, edit),
            ("+", rest) => {
                let child = self.plus.get_or_insert_default();
                child.change(rest, edit);
                if child.is_empty() {
                    self.plus = None;
                }
            }
            (literal, rest) => {
                let child = self.children.entry(literal.into()).or_default();
                child.change(rest, edit);
                if child.is_empty() {
                    self.children.remove(literal);
                }
            }
        }
    }

    fn visit<'a>(&'a self, path: Option<&str>, found: &mut dyn FnMut(&'a Members)) {
        if let Some(members) = &self.rest {
            found(members);
        }
        let Some(path) = path else {
            if let Some(members) = &self.here {
                found(members);
            }
            return;
        };
        let (first, rest) = split(path);
        if let Some(child) = self.children.get(first) {
            child.visit(rest, found);
        }
        if let Some(child) = &self.plus {
            child.visit(rest, found);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.rest.is_none() && self.here.is_none()
    }
}

fn edit_slot(slot: &mut Option<Box<Members>>, edit: impl FnOnce(&mut Members)) {
    let members = slot.get_or_insert_default();
    edit(members);
    if members.is_empty() {
        *slot = None;
    }
}
