//! What is printed of a copy or a store: rows and checksum of each kind.

use serde_json::{Map, Value, json};
use weir_store::copy::Digest;

/// Rows of a store, and where they come from.
pub struct Report {
    /// `None` = the store was only read.
    pub from: Option<String>,
    pub store: String,
    pub digest: Digest,
    /// Nodes that worked on what was read: what changed meanwhile may be missing.
    pub live_nodes: Vec<String>,
    pub over_an_unfinished_copy: bool,
}

impl Report {
    pub fn in_lines(&self) -> String {
        let mut out = match &self.from {
            Some(from) => format!("copied {from} to {}; read back and found the same\n", self.store),
            None => format!("{}\n", self.store),
        };
        for (kind, tally) in self.digest.tallies() {
            out.push_str(&format!("{:14} {:>12}  {:032x}\n", kind.name(), tally.rows, tally.checksum));
        }
        if !self.live_nodes.is_empty() {
            let nodes = self.live_nodes.join(", ");
            out.push_str(&format!(
                "caution: the nodes {nodes} worked on it: what changed meanwhile may be missing\n"
            ));
        }
        out
    }

    pub fn in_json(&self) -> String {
        let kinds = self.digest.tallies().map(|(kind, tally)| {
            let checksum = format!("{:032x}", tally.checksum);
            (kind.name().to_owned(), json!({ "rows": tally.rows, "checksum": checksum }))
        });
        let kinds: Map<String, Value> = kinds.collect();
        let report = json!({
            "from": self.from,
            "store": self.store,
            "rows": kinds,
            "live_nodes": self.live_nodes,
            "over_an_unfinished_copy": self.over_an_unfinished_copy,
        });
        format!("{report}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_reported_as_lines_and_as_json_with_the_same_figures() {
        let report = Report {
            from: Some("embedded:a".to_owned()),
            store: "redis://b".to_owned(),
            digest: Digest::default(),
            live_nodes: vec!["n1".to_owned()],
            over_an_unfinished_copy: true,
        };
        let lines = report.in_lines();
        assert!(
            lines.starts_with("copied embedded:a to redis://b") && lines.contains("the nodes n1"),
            "{lines}"
        );
        let value: Value = serde_json::from_str(&report.in_json()).unwrap();
        assert_eq!(value["rows"]["sessions"], json!({ "rows": 0, "checksum": "0".repeat(32) }));
        assert_eq!(value["over_an_unfinished_copy"], json!(true));
    }
}
