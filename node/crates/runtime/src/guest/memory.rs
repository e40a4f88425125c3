//! The account of an instance's memory, against its own limit and the node's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use metrics::Gauge;
use wasmtime::ResourceLimiter;

/// Elements of all tables of one instance: function pointers, mostly.
const TABLE_ELEMENTS_MAX: usize = 200_000;

/// Memory of all instances of a node.
pub(crate) struct Account {
    bytes: AtomicUsize,
    /// 0 = no limit.
    bytes_max: usize,
    gauge: Gauge,
}

/// Memory of one instance.
pub(crate) struct Memory {
    account: Arc<Account>,
    bytes: usize,
    bytes_max: usize,
    table_elements: usize,
    /// Whether this call was told that there is no more.
    was_denied: bool,
}

impl Account {
    pub fn new(bytes_max: usize, gauge: Gauge) -> Account {
        Account { bytes: AtomicUsize::new(0), bytes_max, gauge }
    }

    fn take(&self, more: usize) -> bool {
        let before = self.bytes.fetch_add(more, Relaxed);
        if self.bytes_max > 0 && before.saturating_add(more) > self.bytes_max {
            self.bytes.fetch_sub(more, Relaxed);
            return false;
        }
        self.gauge.increment(more as f64);
        true
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.gauge.decrement(bytes as f64);
    }
}

impl Memory {
    pub fn new(account: &Arc<Account>, bytes_max: usize) -> Memory {
        Memory { account: Arc::clone(account), bytes: 0, bytes_max, table_elements: 0, was_denied: false }
    }

    pub fn begin(&mut self) {
        self.was_denied = false;
    }

    pub fn was_denied(&self) -> bool {
        self.was_denied
    }

    /// Whether it has grown so far that the instance had better be replaced: memory never shrinks.
    pub fn is_above_half(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = self.bytes.saturating_add(more) <= self.bytes_max && self.account.take(more);
        if fits {
            self.bytes += more;
        } else {
            self.was_denied = true;
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        let fits = elements <= TABLE_ELEMENTS_MAX;
        if fits {
            self.table_elements = elements;
        }
        Ok(fits)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_node_is_given_back_with_the_instance() {
        let account = Arc::new(Account::new(100, Gauge::noop()));
        let mut one = Memory::new(&account, 80);
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!one.memory_growing(60, 90, None).unwrap(), "above its own limit");
        let mut two = Memory::new(&account, 80);
        assert!(!two.memory_growing(0, 60, None).unwrap(), "above the node's limit");
        assert!(two.was_denied());
        drop(one);
        assert!(two.memory_growing(0, 60, None).unwrap());
        assert!(two.is_above_half());
    }
}
