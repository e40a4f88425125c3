//! A session's own list of what it subscribes to: a few in a row, many in a table, so that a client
//! with as many as it may have makes no other wait.

use std::collections::HashMap;

use weir_model::Filter;
use weir_store::SubscriptionOptions;

use crate::sync::Selector;

/// From here on a table is worth its memory.
const MANY: usize = 16;

/// As small as a list while there are few: most sessions have one.
#[derive(Debug)]
pub enum Subscriptions {
    Few(Vec<(Filter, SubscriptionOptions)>),
    #[expect(clippy::box_collection, reason = "a table in place would double what every session holds")]
    Many(Box<HashMap<Filter, SubscriptionOptions>>),
}

impl Default for Subscriptions {
    fn default() -> Subscriptions {
        Subscriptions::Few(Vec::new())
    }
}

impl Subscriptions {
    /// Returns whether it replaced one.
    pub fn insert(&mut self, filter: &Filter, options: SubscriptionOptions) -> bool {
        match self {
            Subscriptions::Many(table) => table.insert(filter.clone(), options).is_some(),
            Subscriptions::Few(list) => {
                if let Some(entry) = list.iter_mut().find(|(known, _)| known == filter) {
                    entry.1 = options;
                    return true;
                }
                if list.is_empty() {
                    list.reserve_exact(1);
                }
                list.push((filter.clone(), options));
                if list.len() >= MANY {
                    *self = Subscriptions::Many(Box::new(list.drain(..).collect()));
                }
                false
            }
        }
    }

    pub fn get(&self, filter: &Filter) -> Option<SubscriptionOptions> {
        match self {
            Subscriptions::Many(table) => table.get(filter).copied(),
            Subscriptions::Few(list) => list.iter().find(|(known, _)| known == filter).map(|(_, o)| *o),
        }
    }

    /// Returns whether it was there.
    pub fn remove(&mut self, filter: &Filter) -> bool {
        match self {
            Subscriptions::Many(table) => {
                let was_there = table.remove(filter).is_some();
                if table.is_empty() {
                    *self = Subscriptions::default();
                }
                was_there
            }
            Subscriptions::Few(list) => {
                let at = list.iter().position(|(known, _)| known == filter);
                at.map(|at| list.remove(at)).is_some()
            }
        }
    }

    pub fn contains(&self, filter: &Filter) -> bool {
        match self {
            Subscriptions::Many(table) => table.contains_key(filter),
            Subscriptions::Few(list) => list.iter().any(|(known, _)| known == filter),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Subscriptions::Many(table) => table.len(),
            Subscriptions::Few(list) => list.len(),
        }
    }

    /// All of them, in no order.
    pub fn to_vec(&self) -> Vec<(Filter, SubscriptionOptions)> {
        match self {
            Subscriptions::Many(table) => table.iter().map(|(filter, o)| (filter.clone(), *o)).collect(),
            Subscriptions::Few(list) => list.clone(),
        }
    }

    /// Those that are not shared and of this pattern, whatever they select of it.
    pub fn of_pattern(&self, pattern: &str) -> Vec<Filter> {
        let is = |filter: &&Filter| filter.pattern() == pattern && filter.share().is_none();
        match self {
            Subscriptions::Many(table) => table.keys().filter(is).cloned().collect(),
            Subscriptions::Few(list) => list.iter().map(|(filter, _)| filter).filter(is).cloned().collect(),
        }
    }

    /// How many of them have a condition on the body.
    pub fn filtered(&self) -> usize {
        let is = |filter: &&Filter| Selector::has_condition(filter);
        match self {
            Subscriptions::Many(table) => table.keys().filter(is).count(),
            Subscriptions::Few(list) => list.iter().map(|(filter, _)| filter).filter(is).count(),
        }
    }

    /// How many of them are shared.
    pub fn shared(&self) -> usize {
        let is_shared = |filter: &Filter| filter.share().is_some();
        match self {
            Subscriptions::Many(table) => table.keys().filter(|filter| is_shared(filter)).count(),
            Subscriptions::Few(list) => list.iter().filter(|(filter, _)| is_shared(filter)).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(number: usize) -> Filter {
        Filter::new(&format!("{}{number}", if number.is_multiple_of(2) { "$share/g/" } else { "" })).unwrap()
    }

    #[test]
    fn few_and_many_are_found_replaced_counted_and_removed_alike() {
        let mut subscriptions = Subscriptions::default();
        let options = SubscriptionOptions::default();
        for count in 1..=3 * MANY {
            assert!(!subscriptions.insert(&filter(count), options));
            assert!(subscriptions.insert(&filter(count), options));
            assert_eq!((subscriptions.len(), subscriptions.shared()), (count, count / 2));
            assert!(subscriptions.contains(&filter(1)) && !subscriptions.contains(&filter(count + 1)));
            assert_eq!(subscriptions.to_vec().len(), count);
        }
        for count in (1..=3 * MANY).rev() {
            assert!(subscriptions.remove(&filter(count)));
            assert!(!subscriptions.remove(&filter(count)));
            assert_eq!(subscriptions.len(), count - 1);
        }
        assert!(matches!(subscriptions, Subscriptions::Few(_)));
    }

    #[test]
    fn the_list_of_an_idle_session_is_as_small_as_a_vector() {
        assert_eq!(size_of::<Subscriptions>(), size_of::<Vec<u8>>());
    }
}
