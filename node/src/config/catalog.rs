//! Every key of the configuration, with its sentence and what it takes, read off the schema.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// How alike an unknown key and a known one must be for the known one to be named.
const LIKENESS_MIN: f64 = 0.5;

/// What the text of an environment variable is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Number,
    Truth,
    List,
    /// A table of the user's own names.
    Table,
}

/// One key that can be set.
#[derive(Debug, Clone)]
pub struct Key {
    /// Section and name: `listen.mqtt`.
    pub path: String,
    pub sentence: String,
    pub kind: Kind,
    /// What it takes, for people.
    pub allowed: String,
    /// Its value is never shown.
    pub secret: bool,
}

/// All keys, in the order in which they are printed.
#[derive(Debug)]
pub struct Catalog {
    keys: Vec<Key>,
    /// Section and its sentence.
    sections: Vec<(String, String)>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    /// The keys of [`Config`].
    #[must_use]
    pub fn new() -> Self {
        let generator = SchemaSettings::default().with(|s| s.inline_subschemas = true).into_generator();
        let schema = generator.into_root_schema_for::<Config>().to_value();
        let mut catalog = Self { keys: Vec::new(), sections: Vec::new() };
        catalog.walk("", &schema);
        // The schema is sorted by name; whoever reads the print wants the node and its doors first.
        let rank = |path: &str| match path.split('.').next() {
            Some("node") => 0,
            Some("listen") => 1,
            _ => 2,
        };
        catalog.keys.sort_by_key(|key| rank(&key.path));
        catalog.sections.sort_by_key(|(path, _)| rank(path));
        catalog
    }

    /// The key of this path.
    #[must_use]
    pub fn key(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// The sections with their sentences.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sections.iter().map(|(path, sentence)| (path.as_str(), sentence.as_str()))
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// The keys directly in a section.
    pub fn keys_of(&self, section: &str) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.path.rsplit_once('.').is_some_and(|(of, _)| of == section))
    }

    /// The known key most like an unknown one, if any is like it at all.
    #[must_use]
    pub fn nearest(&self, unknown: &str) -> Option<String> {
        let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let likeness = |key: &Key| {
            let whole = strsim::normalized_damerau_levenshtein(&key.path, unknown);
            let last = strsim::normalized_damerau_levenshtein(&name(&key.path), &name(unknown));
            f64::midpoint(whole, last)
        };
        let best = self.keys.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(best) >= LIKENESS_MIN).then(|| best.path.clone())
    }

    fn walk(&mut self, section: &str, schema: &Value) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, property) in properties {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            let shape = without_null(property);
            let sentence = sentence(property).or_else(|| sentence(shape)).unwrap_or_default();
            if shape.get("properties").is_some() {
                self.sections.push((path.clone(), sentence));
                self.walk(&path, shape);
            } else {
                let secret = shape.get("x-secret").is_some();
                self.keys.push(Key { path, sentence, kind: kind(shape), allowed: allowed(shape), secret });
            }
        }
    }
}

/// An optional value is described as "this or null"; null means left out.
fn without_null(schema: &Value) -> &Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    choices.and_then(|all| all.iter().find(|one| one["type"] != "null")).unwrap_or(schema)
}

/// The doc comment, its lines joined, up to the first empty line.
fn sentence(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    let first = text.split("\n\n").next().unwrap_or_default();
    Some(first.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn type_name(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(name) => name,
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|n| *n != "null").unwrap_or("string")
        }
        _ => "string",
    }
}

fn kind(schema: &Value) -> Kind {
    match type_name(schema) {
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Truth,
        "array" => Kind::List,
        "object" => Kind::Table,
        _ => Kind::Text,
    }
}

fn allowed(schema: &Value) -> String {
    if let Some(said) = schema.get("x-allowed").and_then(Value::as_str) {
        return said.to_owned();
    }
    let words = choices(schema);
    if !words.is_empty() {
        return words.join(", ");
    }
    match kind(schema) {
        Kind::Truth => "true or false".to_owned(),
        Kind::Integer => range("a whole number", schema),
        Kind::Number => range("a number", schema),
        Kind::List => "a list".to_owned(),
        Kind::Table => "a table".to_owned(),
        Kind::Text => "a text".to_owned(),
    }
}

/// The words of an enumeration, documented (`oneOf`) or not (`enum`).
fn choices(schema: &Value) -> Vec<String> {
    let own = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let one = schema.get("const").into_iter();
    let mut words: Vec<_> = own.chain(one).filter_map(Value::as_str).map(str::to_owned).collect();
    for inner in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        words.extend(choices(inner));
    }
    words
}

fn range(what: &str, schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!("{what} from {least} to {most}"),
        (Some(least), None) => format!("{what}, {least} or more"),
        (None, Some(most)) => format!("{what}, {most} or less"),
        (None, None) => what.to_owned(),
    }
}
