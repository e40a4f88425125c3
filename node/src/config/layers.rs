//! The sources of settings: each turned into keys, values and the place they were found.

use std::ffi::OsString;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{Catalog, Error, Kind};

const PREFIX: &str = "WEIR__";

/// One value somebody set.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Section and name: `listen.mqtt`.
    pub key: String,
    pub value: Value,
    /// Where it stands: `weir.toml:3`, `WEIR__LISTEN__MQTT`, `--mqtt`.
    pub place: String,
}

/// Every value of a TOML file, with the line it stands on.
///
/// # Errors
/// The file cannot be read or is not TOML.
pub fn from_file(path: &Path, catalog: &Catalog) -> Result<Vec<Setting>, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })?;
    from_text(&text, &path.display().to_string(), catalog)
}

/// The same for a text; `name` stands for it in places.
///
/// # Errors
/// The text is not TOML.
pub fn from_text(text: &str, name: &str, catalog: &Catalog) -> Result<Vec<Setting>, Error> {
    let syntax = |error: toml::de::Error| Error::Syntax {
        place: format!("{name}:{}", line(text, error.span().map_or(0, |span| span.start))),
        problem: error.message().to_owned(),
    };
    let values: Table = toml::from_str(text).map_err(syntax)?;
    let places = DeTable::parse(text).map_err(syntax)?;
    let mut file = File { text, name, catalog, settings: Vec::new() };
    file.flatten("", &values, places.get_ref());
    Ok(file.settings)
}

struct File<'a> {
    text: &'a str,
    name: &'a str,
    catalog: &'a Catalog,
    settings: Vec<Setting>,
}

impl File<'_> {
    fn flatten(&mut self, section: &str, values: &Table, places: &DeTable<'_>) {
        for (name, value) in values {
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            let place = places.iter().find(|(known, _)| known.get_ref() == name);
            let inner = place.map(|(_, value)| Spanned::get_ref(value));
            if let (Value::Table(below), Some(DeValue::Table(places)), None) =
                (value, inner, self.catalog.key(&key))
                && (!below.is_empty() || self.catalog.sections().any(|(known, _)| known == key))
            {
                self.flatten(&key, below, places);
                continue;
            }
            let at = place.map_or(0, |(name, _)| name.span().start);
            let place = format!("{}:{}", self.name, line(self.text, at));
            self.settings.push(Setting { key, value: value.clone(), place });
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// Every `WEIR__SECTION__KEY` of the environment, in any case.
///
/// # Errors
/// A value is not UTF-8, or not of the kind its key takes.
pub fn from_environment(
    variables: Vec<(OsString, OsString)>,
    catalog: &Catalog,
) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some((prefix, rest)) = name.split_at_checked(PREFIX.len()) else { continue };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            continue;
        }
        let Ok(text) = value.into_string() else { return Err(Error::NotText { name: name.to_owned() }) };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let value = match catalog.key(&key) {
            Some(known) => typed(&text, known.kind).ok_or_else(|| Error::BadValue {
                key: key.clone(),
                place: name.to_owned(),
                value: format!("{text:?}"),
                problem: "it is of another kind".to_owned(),
                allowed: known.allowed.clone(),
            })?,
            // Refused with its nearest key by the check that all sources pass.
            None => Value::String(text),
        };
        settings.push(Setting { key, value, place: name.to_owned() });
    }
    Ok(settings)
}

/// Text as the kind of value its key takes. A list is TOML in brackets, or words with commas.
fn typed(text: &str, kind: Kind) -> Option<Value> {
    let text = text.trim();
    match kind {
        Kind::Text => Some(Value::String(text.to_owned())),
        Kind::Integer => text.replace('_', "").parse().ok().map(Value::Integer),
        Kind::Number => text.parse().ok().map(Value::Float),
        Kind::Truth => text.to_ascii_lowercase().parse().ok().map(Value::Boolean),
        Kind::List if !text.starts_with('[') => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Some(Value::Array(words.map(|word| Value::String(word.to_owned())).collect()))
        }
        Kind::List | Kind::Table => toml::from_str::<Table>(&format!("v = {text}")).ok()?.remove("v"),
    }
}

/// Puts a value at a dotted path, making the tables on the way.
pub fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
