//! How much there is of everything in an upload: what makes a compiler slow is refused before it is asked.

use wasmparser::{ComponentInstance, Payload};

use crate::config::Config;
use crate::refused::Refused;

/// Types, of modules and components together. A guest of Python has some thousands.
const TYPES_MAX: u64 = 100_000;
/// Imports, of modules and components together.
const IMPORTS_MAX: u64 = 100_000;
/// Globals, tables, memories, tags, element and data segments together.
const DEFINITIONS_MAX: u64 = 500_000;
/// Core instances, aliases and canonical functions of components together.
const LINKS_MAX: u64 = 100_000;
/// Local variables of all functions: a body of ten bytes may declare 50,000.
const LOCALS_MAX: u64 = 5_000_000;
/// Sections: each costs a little even when it is empty.
const SECTIONS_MAX: u64 = 100_000;
/// Bytes of one custom section that names a world.
const WORLD_BYTES_MAX: u64 = 1 << 20;
/// Component instances when all that instantiate one another are written out.
const EXPANSION_MAX: u64 = 1_000;

/// Counts of a whole file.
pub(super) struct Counts {
    functions: Count,
    exports: Count,
    types: Count,
    imports: Count,
    definitions: Count,
    links: Count,
    locals: Count,
    sections: Count,
    function_bytes_max: u64,
    /// Instantiations within each open module or component.
    open: Vec<u64>,
    /// The product of those of the closed ones: no more instances than that can come of them.
    expansion: u64,
}

/// One kind of thing.
struct Count {
    what: &'static str,
    count: u64,
    count_max: u64,
}

pub(super) enum Found {
    TooMany(Refused),
    Broken(wasmparser::BinaryReaderError),
}

impl Found {
    pub fn into_refused(self) -> Refused {
        match self {
            Found::TooMany(refused) => refused,
            Found::Broken(error) => Refused::Compile(error.to_string()),
        }
    }
}

impl From<wasmparser::BinaryReaderError> for Found {
    fn from(error: wasmparser::BinaryReaderError) -> Found {
        Found::Broken(error)
    }
}

impl Count {
    fn new(what: &'static str, count_max: u64) -> Count {
        Count { what, count: 0, count_max }
    }

    fn add(&mut self, more: impl Into<u64>) -> Result<(), Found> {
        self.count = self.count.saturating_add(more.into());
        within(self.what, self.count, self.count_max)
    }
}

fn within(what: &'static str, count: u64, count_max: u64) -> Result<(), Found> {
    match count <= count_max {
        true => Ok(()),
        false => Err(Found::TooMany(Refused::TooMany { what, count, count_max })),
    }
}

impl Counts {
    pub fn new(config: &Config) -> Counts {
        Counts {
            functions: Count::new("functions", config.functions_max as u64),
            exports: Count::new("exports", config.exports_max as u64),
            types: Count::new("types", TYPES_MAX),
            imports: Count::new("imports", IMPORTS_MAX),
            definitions: Count::new("globals, tables, memories and segments", DEFINITIONS_MAX),
            links: Count::new("links between modules", LINKS_MAX),
            locals: Count::new("local variables", LOCALS_MAX),
            sections: Count::new("sections", SECTIONS_MAX),
            function_bytes_max: config.function_bytes_max as u64,
            open: vec![0],
            expansion: 1,
        }
    }

    pub fn see(&mut self, payload: &Payload<'_>) -> Result<(), Found> {
        if !matches!(payload, Payload::CodeSectionEntry(_)) {
            self.sections.add(1u32)?;
        }
        match payload {
            Payload::TypeSection(s) => self.types.add(s.count()),
            Payload::CoreTypeSection(s) => self.types.add(s.count()),
            Payload::ComponentTypeSection(s) => self.types.add(s.count()),
            Payload::ImportSection(s) => self.imports.add(s.count()),
            Payload::ComponentImportSection(s) => self.imports.add(s.count()),
            Payload::ExportSection(s) => self.exports.add(s.count()),
            Payload::ComponentExportSection(s) => self.exports.add(s.count()),
            Payload::FunctionSection(s) => self.functions.add(s.count()),
            Payload::CodeSectionStart { count, .. } => {
                within("functions", u64::from(*count), self.functions.count_max)
            }
            Payload::CodeSectionEntry(body) => self.see_function(body),
            Payload::TableSection(s) => self.definitions.add(s.count()),
            Payload::MemorySection(s) => self.definitions.add(s.count()),
            Payload::TagSection(s) => self.definitions.add(s.count()),
            Payload::GlobalSection(s) => self.definitions.add(s.count()),
            Payload::ElementSection(s) => self.definitions.add(s.count()),
            Payload::DataSection(s) => self.definitions.add(s.count()),
            Payload::InstanceSection(s) => self.links.add(s.count()),
            Payload::ComponentAliasSection(s) => self.links.add(s.count()),
            Payload::ComponentCanonicalSection(s) => self.links.add(s.count()),
            Payload::ComponentInstanceSection(s) => {
                self.links.add(s.count())?;
                self.see_instances(s.clone())
            }
            Payload::CustomSection(s) if s.name().starts_with("component-type") => {
                within("bytes in the section that names its world", s.data().len() as u64, WORLD_BYTES_MAX)
            }
            _ => Ok(()),
        }
    }

    fn see_function(&mut self, body: &wasmparser::FunctionBody<'_>) -> Result<(), Found> {
        within("bytes in one function", body.as_bytes().len() as u64, self.function_bytes_max)?;
        for group in body.get_locals_reader()? {
            self.locals.add(group?.0)?;
        }
        Ok(())
    }

    fn see_instances(
        &mut self,
        section: wasmparser::ComponentInstanceSectionReader<'_>,
    ) -> Result<(), Found> {
        for instance in section {
            if matches!(instance?, ComponentInstance::Instantiate { .. })
                && let Some(here) = self.open.last_mut()
            {
                *here += 1;
            }
        }
        Ok(())
    }

    pub fn enter(&mut self) {
        self.open.push(0);
    }

    pub fn leave(&mut self) {
        let instances = self.open.pop().unwrap_or(0);
        self.expansion = self.expansion.saturating_mul(instances.max(1));
    }

    /// Components that instantiate components that instantiate components: a small file may ask for any number.
    pub fn check_expansion(mut self) -> Result<(), Refused> {
        while !self.open.is_empty() {
            self.leave();
        }
        within("instances of components", self.expansion, EXPANSION_MAX).map_err(Found::into_refused)
    }
}
