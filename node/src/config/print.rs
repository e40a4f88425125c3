//! The configuration as a file somebody can start from.

use std::fmt::Write as _;

use toml::Value;

use super::{Catalog, Config};

/// Every key with its sentence and present value; keys without a value stand as comments.
pub fn as_toml(config: &Config, catalog: &Catalog) -> String {
    let values =
        Value::try_from(config).unwrap_or_else(|error| panic!("the configuration is always TOML: {error}"));
    let mut out = String::new();
    for (section, sentence) in catalog.sections() {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "# {sentence}\n[{section}]");
        for key in catalog.keys_of(section) {
            let name = key.path.rsplit('.').next().unwrap_or_default();
            let _ = writeln!(out, "# {} ({})", key.sentence, key.allowed);
            let _ = match at(&values, &key.path) {
                // It is set, and the print stays a file that can be loaded.
                Some(_) if key.secret => writeln!(out, "# {name} = \"***\""),
                Some(value) => writeln!(out, "{name} = {value}"),
                None => writeln!(out, "# {name} ="),
            };
        }
    }
    out
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, name| value.get(name))
}
