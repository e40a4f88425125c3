//! What an upload is, found out before anything is compiled: in one pass over its sections.

mod contract;
mod counts;

use wasmparser::{Chunk, ComponentTypeRef, Encoding, Instance, Parser, Payload, TypeBounds};

pub(crate) use contract::{Contract, OFFERED};
use counts::Counts;

use crate::config::Config;
use crate::refused::Refused;

/// Modules and components within each other.
const DEPTH_MAX: usize = 16;

/// Names of imports and exports that are kept for a message.
const NAMES_MAX: usize = 1_000;

/// What one pass over an upload has found.
pub(crate) struct Shape {
    pub is_component: bool,
    /// Of the outermost: `weir:handler/kv@1.0.0` of a component, `module.name` of a core module.
    pub imports: Vec<String>,
    /// Of the outermost.
    pub exports: Vec<String>,
    /// Whether a core module says which world it was made for.
    pub names_its_world: bool,
    pub core_instances: u64,
    /// Elements of the largest table, as declared.
    pub table_elements: u64,
    /// Pages of 64 KiB of all memories, as declared.
    pub memory_pages: u64,
}

/// Walks over the whole file; nothing is compiled, and no function body is looked into but for its locals.
pub(crate) fn inspect(bytes: &[u8], config: &Config) -> Result<Shape, Refused> {
    if bytes.len() > config.upload_bytes_max {
        return Err(Refused::TooLarge { bytes: bytes.len(), bytes_max: config.upload_bytes_max });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Refused::NotWasm);
    }
    let mut walk = Walk {
        shape: Shape::empty(),
        counts: Counts::new(config),
        outer: Vec::new(),
        parser: Parser::new(0),
        rest: bytes,
    };
    while walk.step()? {}
    walk.counts.check_expansion()?;
    Ok(walk.shape)
}

struct Walk<'a> {
    shape: Shape,
    counts: Counts,
    /// Parsers of what the present one is within.
    outer: Vec<Parser>,
    parser: Parser,
    rest: &'a [u8],
}

impl Walk<'_> {
    /// One section further; false at the end.
    fn step(&mut self) -> Result<bool, Refused> {
        // Only with nothing left is "the file ends here" an answer, and in the middle of something it is an error.
        let is_end = self.rest.is_empty();
        let (payload, consumed) = match self.parser.parse(self.rest, is_end) {
            Ok(Chunk::Parsed { payload, consumed }) => (payload, consumed),
            Ok(Chunk::NeedMoreData(_)) => return Err(Refused::Truncated),
            Err(_) if is_end => return Err(Refused::Truncated),
            Err(error) => return Err(broken(error)),
        };
        self.rest = &self.rest[consumed..];
        self.counts.see(&payload).map_err(|e| e.into_refused())?;
        match payload {
            Payload::Version { encoding, .. } if self.outer.is_empty() => {
                self.shape.is_component = encoding == Encoding::Component;
            }
            Payload::ModuleSection { parser, .. } | Payload::ComponentSection { parser, .. } => {
                if self.outer.len() == DEPTH_MAX {
                    let (count, count_max) = (DEPTH_MAX as u64 + 1, DEPTH_MAX as u64);
                    return Err(Refused::TooMany { what: "components within each other", count, count_max });
                }
                self.outer.push(std::mem::replace(&mut self.parser, parser));
                self.counts.enter();
            }
            Payload::End(_) => {
                self.counts.leave();
                match self.outer.pop() {
                    Some(outer) => self.parser = outer,
                    None => return Ok(false),
                }
            }
            other => self.shape.see(other, self.outer.is_empty()).map_err(broken)?,
        }
        Ok(true)
    }
}

fn broken(error: wasmparser::BinaryReaderError) -> Refused {
    Refused::Compile(error.to_string())
}

impl Shape {
    fn empty() -> Shape {
        Shape {
            is_component: false,
            imports: Vec::new(),
            exports: Vec::new(),
            names_its_world: false,
            core_instances: 0,
            table_elements: 0,
            memory_pages: 0,
        }
    }

    fn see(&mut self, payload: Payload<'_>, is_outermost: bool) -> wasmparser::Result<()> {
        match payload {
            Payload::ImportSection(section) if is_outermost => {
                for import in section.into_imports() {
                    let import = import?;
                    keep(&mut self.imports, format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) if is_outermost => {
                section
                    .into_iter()
                    .try_for_each(|e| e.map(|e| keep(&mut self.exports, e.name.to_owned())))?;
            }
            Payload::ComponentImportSection(section) if is_outermost => {
                for import in section {
                    let import = import?;
                    // What a world `use`s from an interface is only a name for it.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        keep(&mut self.imports, import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if is_outermost => {
                let mut exports = section.into_iter();
                exports.try_for_each(|e| e.map(|e| keep(&mut self.exports, e.name.name.to_owned())))?;
            }
            Payload::CustomSection(section) if is_outermost => {
                self.names_its_world |= section.name().starts_with("component-type");
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.core_instances += u64::from(matches!(instance?, Instance::Instantiate { .. }));
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.table_elements = self.table_elements.max(table?.ty.initial);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memory_pages = self.memory_pages.saturating_add(memory?.initial);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it needs an engine for what has a language runtime inside.
    pub fn is_large(&self, bytes: usize) -> bool {
        bytes > SMALL_BYTES_MAX
            || self.core_instances > SMALL_CORE_INSTANCES_MAX
            || self.table_elements > SMALL_TABLE_ELEMENTS_MAX
            || self.memory_pages > SMALL_MEMORY_PAGES_MAX
            || self.imports.iter().any(|import| import.starts_with("wasi:"))
    }
}

/// A Rust guest with serde has 0.1 MB, one of Python 18 MB.
const SMALL_BYTES_MAX: usize = 4 << 20;
/// A component made from one module has 3 or 4; one of Python about 40.
pub(crate) const SMALL_CORE_INSTANCES_MAX: u64 = 8;
pub(crate) const SMALL_TABLE_ELEMENTS_MAX: u64 = 10_000;
/// 16 MiB.
const SMALL_MEMORY_PAGES_MAX: u64 = 256;

fn keep(names: &mut Vec<String>, name: String) {
    if names.len() < NAMES_MAX {
        names.push(name);
    }
}
