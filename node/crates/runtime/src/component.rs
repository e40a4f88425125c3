//! From the bytes of an upload to compiled code: checked, made a component, compiled.

use wasmtime::component::Component;
use wit_component::ComponentEncoder;

use crate::check::{self, Contract};
use crate::config::Config;
use crate::engine::Classes;
use crate::refused::Refused;

/// An upload, compiled.
pub(crate) struct Compiled {
    pub component: Component,
    pub contract: Contract,
    pub is_large: bool,
}

/// Takes seconds for what has a language runtime inside: not for a thread that serves connections.
pub(crate) fn compile(bytes: &[u8], config: &Config, classes: &Classes) -> Result<Compiled, Refused> {
    let shape = check::inspect(bytes, config)?;
    if shape.is_component {
        return compile_component(bytes, &shape, classes);
    }
    Contract::check_core(&shape)?;
    let component = encode(bytes)?;
    let shape = check::inspect(&component, config)?;
    compile_component(&component, &shape, classes)
}

/// A core module that the SDK has built names its world in a section of its own; that makes it a component.
fn encode(module: &[u8]) -> Result<Vec<u8>, Refused> {
    let encoder = ComponentEncoder::default().module(module);
    let encoded = encoder.and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| Refused::Compile(format!("{error:#}")))
}

fn compile_component(bytes: &[u8], shape: &check::Shape, classes: &Classes) -> Result<Compiled, Refused> {
    let contract = Contract::of(shape)?;
    let is_large = shape.is_large(bytes.len());
    let component = Component::new(&classes.get(is_large).engine, bytes);
    let component = component.map_err(|error| Refused::Compile(format!("{error:#}")))?;
    Ok(Compiled { component, contract, is_large })
}
