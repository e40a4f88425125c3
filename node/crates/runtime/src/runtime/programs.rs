//! Which programs there are, and how they are named on disk.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::check::{Contract, OFFERED};
use crate::digest::Digest;
use crate::program::{Program, World};

/// Programs that somebody still holds, by digest.
#[derive(Default)]
pub(super) struct Programs(Mutex<HashMap<Digest, Weak<Program>>>);

impl Programs {
    pub fn get(&self, digest: &Digest) -> Option<Arc<Program>> {
        self.0.lock().get(digest).and_then(Weak::upgrade)
    }

    /// The program, or the same one that was there already.
    pub fn keep(&self, program: Arc<Program>) -> Arc<Program> {
        let mut programs = self.0.lock();
        programs.retain(|_, known| known.strong_count() > 0);
        match programs.get(&program.digest()).and_then(Weak::upgrade) {
            Some(known) => known,
            None => {
                programs.insert(program.digest(), Arc::downgrade(&program));
                program
            }
        }
    }
}

/// Other code for the same upload has another name: of another class, engine, compiler or contract.
pub(super) fn file_name(digest: &Digest, is_large: bool, code_hash: u64) -> String {
    let class = if is_large { "large" } else { "small" };
    let mut hasher = DefaultHasher::new();
    (code_hash, OFFERED, FORMAT).hash(&mut hasher);
    format!("{digest}-{class}-{:016x}", hasher.finish())
}

/// Goes up when the header of a file reads otherwise.
const FORMAT: u32 = 1;

/// What a file says of its program: `command 1.0.0 kv wasi`.
pub(super) fn header_of(contract: &Contract) -> String {
    let mut header = format!("{} {}", contract.world.as_str(), contract.version);
    if contract.has_kv {
        header.push_str(" kv");
    }
    if contract.has_wasi {
        header.push_str(" wasi");
    }
    header
}

pub(super) fn contract_of(header: &str) -> Option<Contract> {
    let mut words = header.split(' ');
    let name = words.next()?;
    let world = World::ALL.into_iter().find(|world| world.as_str() == name)?;
    let version = words.next()?.to_owned();
    let rest: Vec<&str> = words.collect();
    let (has_wasi, has_kv) = (rest.contains(&"wasi"), rest.contains(&"kv"));
    Some(Contract { world, version, has_wasi, has_kv })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        for world in World::ALL {
            for (has_wasi, has_kv) in [(false, false), (true, false), (false, true), (true, true)] {
                let contract = Contract { world, version: "1.0.0".to_owned(), has_wasi, has_kv };
                assert_eq!(contract_of(&header_of(&contract)), Some(contract));
            }
        }
        assert_eq!(contract_of(""), None);
    }
}
