//! Which world an upload was made for, and whether this node offers what it wants.

use super::Shape;
use crate::program::World;
use crate::refused::Refused;

/// The version of `weir:handler` that this node offers.
pub(crate) const OFFERED: &str = "1.0.0";

/// What WASI 0.2 offers: with nothing behind it.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// What an upload has to do with its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contract {
    pub world: World,
    /// As its imports say, such as `1.0.0`.
    pub version: String,
    pub has_wasi: bool,
    pub has_kv: bool,
}

impl Contract {
    /// Of a component: its world by what it exports, its version by what it imports.
    pub fn of(shape: &Shape) -> Result<Contract, Refused> {
        let world = world(&shape.exports)?;
        let mut version = None;
        for import in &shape.imports {
            if let Some(of_weir) = import.strip_prefix("weir:handler/") {
                version = Some(check_interface(import, of_weir, world)?.to_owned());
            } else if !is_wasi(import) {
                return Err(Refused::Import { name: import.clone() });
            }
        }
        Ok(Contract {
            world,
            version: version.unwrap_or_else(|| OFFERED.to_owned()),
            has_wasi: shape.imports.iter().any(|import| import.starts_with("wasi:")),
            has_kv: shape.imports.iter().any(|import| import.starts_with("weir:handler/kv@")),
        })
    }

    /// Of a core module: whether what it imports can be made of this contract, and whether it says what it is.
    pub fn check_core(shape: &Shape) -> Result<(), Refused> {
        for import in &shape.imports {
            let is_known = ["weir:handler/", "[export]weir:handler/", "wasi:", "[export]$root", "$root"]
                .iter()
                .any(|known| import.starts_with(known));
            if !is_known {
                return Err(Refused::Import { name: import.clone() });
            }
        }
        match shape.names_its_world {
            true => Ok(()),
            false => Err(Refused::WrongWorld { exports: shape.exports.clone() }),
        }
    }
}

/// The version that `kv@1.0.0` asks for, if a world may ask for it and the node offers it.
fn check_interface<'a>(import: &str, of_weir: &'a str, world: World) -> Result<&'a str, Refused> {
    let (name, version) = of_weir.split_once('@').unwrap_or((of_weir, ""));
    if !is_offered(version) {
        return Err(Refused::WrongVersion { has: version.to_owned(), offered: OFFERED });
    }
    match world.may_import(name) {
        true => Ok(version),
        false => Err(Refused::Import { name: import.to_owned() }),
    }
}

/// 1.x runs on 1.y with y >= x; patches say nothing.
fn is_offered(version: &str) -> bool {
    match (numbers(version), numbers(OFFERED)) {
        (Some(has), Some(offered)) => has.0 == offered.0 && has.1 <= offered.1,
        _ => false,
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
    patch.parse::<u32>().ok()?;
    match parts.next() {
        None => Some((major.parse().ok()?, minor.parse().ok()?)),
        Some(_) => None,
    }
}

fn is_wasi(import: &str) -> bool {
    let version = import.split_once('@').map_or("", |(_, version)| version);
    WASI.iter().any(|package| import.starts_with(package)) && version.starts_with("0.2.")
}

/// The one world whose exports are all there.
fn world(exports: &[String]) -> Result<World, Refused> {
    let has = |name: &str| exports.iter().any(|export| export == name);
    let has_all = |world: World| world.exports().iter().all(|name| has(name));
    let is_reducer = has_all(World::Reducer);
    let found = match (has_all(World::Command), is_reducer, has_all(World::Middleware)) {
        (true, false, false) => Some(World::Command),
        (false, true, false) if has_all(World::MergingReducer) => Some(World::MergingReducer),
        (false, true, false) => Some(World::Reducer),
        (false, false, true) => Some(World::Middleware),
        _ => None,
    };
    found.ok_or_else(|| Refused::WrongWorld { exports: exports.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_offers_what_is_of_its_major_and_not_of_a_higher_minor_version() {
        assert!(is_offered("1.0.0") && is_offered("1.0.7"));
        assert!(!is_offered("1.1.0") && !is_offered("2.0.0") && !is_offered("0.9.0"));
        assert!(!is_offered("") && !is_offered("1") && !is_offered("1.0") && !is_offered("1.0.0.0"));
    }

    #[test]
    fn the_offered_version_is_that_of_the_contract() {
        let contract = include_str!("../../../../../handlers-sdk/wit/weir-handler.wit");
        assert!(contract.contains(&format!("package weir:handler@{OFFERED};")));
    }

    #[test]
    fn exports_of_two_worlds_are_of_none() {
        let exports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(world(&exports(&["handle"])), Ok(World::Command));
        assert_eq!(world(&exports(&["map", "reduce"])), Ok(World::Reducer));
        assert_eq!(world(&exports(&["map", "reduce", "merge"])), Ok(World::MergingReducer));
        let both = exports(&["handle", "map", "reduce"]);
        assert_eq!(world(&both), Err(Refused::WrongWorld { exports: both.clone() }));
        assert_eq!(
            world(&exports(&["on-publish"])),
            Err(Refused::WrongWorld { exports: exports(&["on-publish"]) })
        );
    }

    #[test]
    fn only_wasi_0_2_is_linked() {
        assert!(is_wasi("wasi:cli/environment@0.2.9") && is_wasi("wasi:io/streams@0.2.0"));
        assert!(!is_wasi("wasi:http/outgoing-handler@0.2.0") && !is_wasi("wasi:cli/environment@0.3.0"));
    }
}
