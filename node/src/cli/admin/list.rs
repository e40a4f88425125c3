//! Lists of any length: a table, or one JSON array, written as it comes.

use serde_json::Value;

use super::{say, text};
use crate::cli::Failure;

/// A list that is being printed.
pub struct List {
    json: bool,
    heads: &'static [&'static str],
    widths: Vec<usize>,
    entries: usize,
}

impl List {
    /// Begins a list with columns of these names.
    pub fn begin(json: bool, heads: &'static [&'static str]) -> Result<Self, Failure> {
        if json {
            say("[")?;
        }
        Ok(Self { json, heads, widths: Vec::new(), entries: 0 })
    }

    /// Adds a page: each entry as its JSON and its cells. The first page says how wide the columns are.
    pub fn page(&mut self, entries: Vec<(Value, Vec<String>)>) -> Result<(), Failure> {
        let mut out = String::new();
        if !self.json && self.widths.is_empty() && !entries.is_empty() {
            let cells = |column: usize| entries.iter().map(move |(_, cells)| width(&cells[column]));
            self.widths = (0..self.heads.len())
                .map(|column| cells(column).max().unwrap_or(0).clamp(self.heads[column].len(), 40))
                .collect();
            let heads: Vec<_> = self.heads.iter().map(|head| head.to_uppercase()).collect();
            self.line(&mut out, &heads);
        }
        for (value, cells) in entries {
            if self.json {
                out.push_str(if self.entries == 0 { "\n" } else { ",\n" });
                out.push_str(&value.to_string());
            } else {
                self.line(&mut out, &cells);
            }
            self.entries += 1;
        }
        say(&out)
    }

    /// How many there were.
    pub fn end(self) -> Result<usize, Failure> {
        if self.json {
            say(if self.entries == 0 { "]\n" } else { "\n]\n" })?;
        }
        Ok(self.entries)
    }

    fn line(&self, out: &mut String, cells: &[String]) {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            line.push_str(&format!("{:width$}  ", text(cell)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn width(cell: &str) -> usize {
    text(cell).chars().count()
}
