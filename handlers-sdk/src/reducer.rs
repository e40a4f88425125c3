//! Map-reduce: a state per key that follows from all messages of a stream.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, FromMessage, Message};

/// What the map of a reducer may return: pairs of key and value, or a `Result` of them.
pub trait Mapped {
    /// What a message contributes to a key.
    type Value;

    /// The pairs.
    ///
    /// # Errors
    /// Those of the map.
    fn mapped(self) -> Result<Vec<(String, Self::Value)>, Failure>;
}

impl<V> Mapped for Vec<(String, V)> {
    type Value = V;

    fn mapped(self) -> Result<Vec<(String, V)>, Failure> {
        Ok(self)
    }
}

impl<V, E: Into<Failure>> Mapped for Result<Vec<(String, V)>, E> {
    type Value = V;

    fn mapped(self) -> Result<Vec<(String, V)>, Failure> {
        self.map_err(Into::into)
    }
}

/// What the reduce of a reducer may return: the new state, none when the key is no more, or a `Result` of that.
pub trait Reduced {
    /// What is kept for a key.
    type State;

    /// The new state.
    ///
    /// # Errors
    /// Those of the reduce.
    fn reduced(self) -> Result<Option<Self::State>, Failure>;
}

impl<S> Reduced for Option<S> {
    type State = S;

    fn reduced(self) -> Result<Option<S>, Failure> {
        Ok(self)
    }
}

impl<S, E: Into<Failure>> Reduced for Result<Option<S>, E> {
    type State = S;

    fn reduced(self) -> Result<Option<S>, Failure> {
        self.map_err(Into::into)
    }
}

/// What the merge of a reducer may return: the state, or a `Result` of it.
pub trait Merged<S> {
    /// The state.
    ///
    /// # Errors
    /// Those of the merge.
    fn merged(self) -> Result<S, Failure>;
}

impl<S> Merged<S> for S {
    fn merged(self) -> Result<S, Failure> {
        Ok(self)
    }
}

impl<S, E: Into<Failure>> Merged<S> for Result<S, E> {
    fn merged(self) -> Result<S, Failure> {
        self.map_err(Into::into)
    }
}

/// What a message contributes, as the broker stores it.
#[doc(hidden)]
pub fn map<T, M>(map: impl Fn(T) -> M, message: Message) -> Result<Vec<(String, Vec<u8>)>, Failure>
where
    T: FromMessage,
    M: Mapped<Value: Serialize>,
{
    let pairs = map(T::from_message(message)?).mapped()?;
    pairs.into_iter().map(|(key, value)| Ok((key, written(&value)?))).collect()
}

/// The new state of a key, as the broker stores it.
#[doc(hidden)]
pub fn reduce<S, V, R>(
    reduce: impl Fn(&str, Option<S>, Vec<(V, i32)>) -> R,
    key: &str,
    state: Option<Vec<u8>>,
    changes: impl Iterator<Item = (Vec<u8>, i32)>,
) -> Result<Option<Vec<u8>>, Failure>
where
    S: Serialize + DeserializeOwned,
    V: DeserializeOwned,
    R: Reduced<State = S>,
{
    let state = state.map(|bytes| serde_json::from_slice(&bytes)).transpose()?;
    let changes = changes.map(|(value, weight)| Ok((serde_json::from_slice(&value)?, weight)));
    let changes = changes.collect::<Result<Vec<_>, Failure>>()?;
    reduce(key, state, changes).reduced()?.map(|state| written(&state)).transpose()
}

/// One state out of several, as the broker stores it.
#[doc(hidden)]
pub fn merge<S, G>(
    merge: impl Fn(&str, Vec<S>) -> G,
    key: &str,
    states: Vec<Vec<u8>>,
) -> Result<Vec<u8>, Failure>
where
    S: Serialize + DeserializeOwned,
    G: Merged<S>,
{
    let states = states.iter().map(|bytes| serde_json::from_slice(bytes)).collect::<Result<Vec<S>, _>>()?;
    written(&merge(key, states).merged()?)
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::unwritable(&error))
}

/// Holds when what the map gives is what the reduce takes.
#[doc(hidden)]
pub fn fit<T, M, V, S, R>(_: impl Fn(T) -> M, _: impl Fn(&str, Option<S>, Vec<(V, i32)>) -> R)
where
    T: FromMessage,
    M: Mapped<Value = V>,
    V: Serialize + DeserializeOwned,
    S: Serialize + DeserializeOwned,
    R: Reduced<State = S>,
{
}

/// Holds when the reduce and the merge are of one state.
#[doc(hidden)]
pub fn fit_merge<V, S, R, G>(_: impl Fn(&str, Option<S>, Vec<(V, i32)>) -> R, _: impl Fn(&str, Vec<S>) -> G)
where
    R: Reduced<State = S>,
    G: Merged<S>,
{
}

/// Makes two or three functions the handler of this crate, of the world `reducer` or `merging-reducer`.
///
/// - map: a [`Message`](crate::Message), or anything that serde reads out of the payload, to pairs of key and value.
///   It must give the same whenever it is asked.
/// - reduce: a key, its state, and values with a weight (+1 = it comes; -1 = it goes, because the message that gave it
///   was replaced by a newer one of the same key) to the new state; none = the key is no more.
/// - merge, if it can be said: one state from several of the same key, in no particular order.
///
/// Values and states are kept as JSON. A replay makes the same bytes when their types always write the same: a
/// `BTreeMap` does, a `HashMap` does not.
///
/// ```
/// use weir_handler::{Failure, Message};
///
/// fn map(message: Message) -> Result<Vec<(String, u64)>, Failure> {
///     Ok(message.text()?.split_whitespace().map(|word| (word.to_lowercase(), 1)).collect())
/// }
///
/// fn reduce(_word: &str, state: Option<u64>, changes: Vec<(u64, i32)>) -> Option<u64> {
///     let sum = changes.iter().map(|(count, weight)| *count as i64 * i64::from(*weight)).sum();
///     state.unwrap_or(0).checked_add_signed(sum).filter(|count| *count > 0)
/// }
///
/// weir_handler::reducer!(map, reduce);
/// ```
#[macro_export]
macro_rules! reducer {
    ($map:path, $reduce:path $(,)?) => {
        $crate::__reducer!(reducer, $map, $reduce, {});
        const _: () = {
            #[allow(dead_code)]
            fn fits() {
                $crate::reducer::fit($map, $reduce);
            }
        };
    };
    ($map:path, $reduce:path, $merge:path $(,)?) => {
        $crate::__reducer!(merging_reducer, $map, $reduce, {
            fn merge(
                key: ::std::string::String,
                states: ::std::vec::Vec<::std::vec::Vec<u8>>,
            ) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::guest::Failure> {
                $crate::guest::merge($merge, key, states)
            }
        });
        const _: () = {
            #[allow(dead_code)]
            fn fits() {
                $crate::reducer::fit($map, $reduce);
                $crate::reducer::fit_merge($reduce, $merge);
            }
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __reducer {
    ($world:ident, $map:path, $reduce:path, { $($merge:tt)* }) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Handler;

            impl $crate::guest::$world::Guest for Handler {
                fn map(
                    message: $crate::guest::Message,
                ) -> ::std::result::Result<::std::vec::Vec<$crate::guest::Keyed>, $crate::guest::Failure> {
                    $crate::guest::map($map, message)
                }

                fn reduce(
                    key: ::std::string::String,
                    state: ::std::option::Option<::std::vec::Vec<u8>>,
                    changes: ::std::vec::Vec<$crate::guest::Change>,
                ) -> ::std::result::Result<::std::option::Option<::std::vec::Vec<u8>>, $crate::guest::Failure> {
                    $crate::guest::reduce($reduce, key, state, changes)
                }

                $($merge)*
            }

            $crate::guest::$world::export!(Handler with_types_in $crate::guest::$world);
        };
    };
}
