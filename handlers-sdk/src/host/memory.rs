//! The host of a native test: in memory, one per thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::kv::Error;
use crate::log::Level;

/// Longest name of a value (wit: `kv.error.too-large`).
const KV_NAME_BYTES_MAX: usize = 256;
/// Most bytes at once (wit: `random.bytes`).
const RANDOM_BYTES_MAX: u32 = 65_536;

/// The values of one message key by name.
pub(crate) type Values = BTreeMap<String, Vec<u8>>;

/// All that a handler could touch.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) kv: BTreeMap<Vec<u8>, Values>,
    /// The key of the message that is handled.
    pub(crate) key: Vec<u8>,
    pub(crate) kv_away: bool,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) now: u64,
    /// Where the random numbers are: the same in every run of a test.
    pub(crate) seed: u64,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// The host of this thread.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(use_it)
}

/// The values of the key that is handled, when the name can be one.
fn values<T>(name: &str, use_them: impl FnOnce(&mut Values) -> T) -> Result<T, Error> {
    if name.is_empty() || name.len() > KV_NAME_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    with(|host| {
        if host.kv_away {
            return Err(Error::Unavailable);
        }
        Ok(use_them(host.kv.entry(host.key.clone()).or_default()))
    })
}

pub(crate) fn kv_get(name: &str) -> Result<Option<Vec<u8>>, Error> {
    values(name, |values| values.get(name).cloned())
}

pub(crate) fn kv_set(name: &str, value: &[u8]) -> Result<(), Error> {
    values(name, |values| values.insert(name.to_owned(), value.to_owned())).map(drop)
}

pub(crate) fn kv_delete(name: &str) -> Result<(), Error> {
    values(name, |values| values.remove(name)).map(drop)
}

pub(crate) fn log_write(level: Level, text: &str) {
    with(|host| host.log.push((level, text.to_owned())));
}

pub(crate) fn config_get(name: &str) -> Option<String> {
    with(|host| host.config.get(name).cloned())
}

pub(crate) fn clock_now() -> u64 {
    with(|host| host.now)
}

/// SplitMix64.
pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
    let next = |_| {
        with(|host| {
            host.seed = host.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (host.seed ^ (host.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) as u8
        })
    };
    (0..count.min(RANDOM_BYTES_MAX)).map(next).collect()
}
