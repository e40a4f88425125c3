//! How messages and their options are declared: as tables, from which reading and writing follow.

use smallvec::SmallVec;

use super::MessageType;
use crate::wamp::element::{Element, Entry, Wrong};
use crate::wamp::writer::Writer;
use crate::wamp::{DecodeError, Id, Raw};

/// The most items any message has: ERROR with everything.
pub(in crate::wamp) const ITEMS_MAX: usize = 7;

/// What follows the type in a message's list.
pub(in crate::wamp) trait Body<'a>: Sized {
    /// The fewest and the most items, the type counted.
    const ITEMS: (usize, usize);

    fn read(items: &Items<'a>) -> Result<Self, DecodeError>;
    fn write(&self, kind: MessageType, writer: &mut Writer<'_>);
}

/// Items at the end of a message that may be left out.
pub(in crate::wamp) trait Tail<'a>: Sized {
    const ITEMS_MAX: usize;

    fn read(items: &Items<'a>, at: usize) -> Result<Self, DecodeError>;
    /// How many items it takes.
    fn len(&self) -> usize;
    fn write(&self, writer: &mut Writer<'_>);
}

/// The items of one message, not yet understood.
pub(in crate::wamp) struct Items<'a> {
    kind: MessageType,
    /// The first [`ITEMS_MAX`] of them.
    items: SmallVec<[Raw<'a>; ITEMS_MAX]>,
    /// How many there are.
    count: usize,
}

impl<'a> Items<'a> {
    /// Finds out the type, which is the first item.
    pub(in crate::wamp) fn new(
        items: SmallVec<[Raw<'a>; ITEMS_MAX]>,
        count: usize,
    ) -> Result<Items<'a>, DecodeError> {
        let code = items.first().and_then(|first| first.unsigned()).ok_or(DecodeError::NoType)?;
        let kind = MessageType::of_code(code).ok_or(DecodeError::UnknownType { code })?;
        Ok(Items { kind, items, count })
    }

    pub(super) fn message_type(&self) -> MessageType {
        self.kind
    }

    #[inline(always)]
    pub(super) fn body<T: Body<'a>>(&self) -> Result<T, DecodeError> {
        let (min, max) = T::ITEMS;
        if self.count < min || self.count > max {
            return Err(DecodeError::Arity { message: self.kind, items: self.count, min, max });
        }
        T::read(self)
    }

    /// The item at a place, the type being at 0, whose field is called `field`.
    #[inline]
    pub(super) fn element<T: Element<'a>>(&self, at: usize, field: &'static str) -> Result<T, DecodeError> {
        let read = self.items.get(at).ok_or(Wrong::Type).and_then(|raw| T::read(*raw));
        read.map_err(|wrong| self.refuse(wrong, at, field, T::WANTED))
    }

    #[cold]
    fn refuse(&self, wrong: Wrong, item: usize, field: &'static str, wanted: &'static str) -> DecodeError {
        let message = self.kind;
        match wrong {
            Wrong::Type => self.wrong_type(item, field, wanted),
            Wrong::Id => DecodeError::IdOutOfRange { message, item, field },
            Wrong::Option { name, wanted } => {
                DecodeError::BadOption { message, request: self.request(), option: name, wanted }
            }
        }
    }

    /// An item that may be missing; null is taken for that too.
    pub(in crate::wamp) fn given(&self, at: usize) -> Option<Raw<'a>> {
        self.items.get(at).copied().filter(|raw| !raw.is_null())
    }

    pub(in crate::wamp) fn wrong_type(
        &self,
        item: usize,
        field: &'static str,
        wanted: &'static str,
    ) -> DecodeError {
        DecodeError::WrongType { message: self.kind, item, field, wanted }
    }

    /// The request an ERROR would answer: of what clients ask for.
    fn request(&self) -> Option<Id> {
        match self.kind {
            MessageType::Publish
            | MessageType::Subscribe
            | MessageType::Unsubscribe
            | MessageType::Register
            | MessageType::Unregister
            | MessageType::Call
            | MessageType::Cancel => self.items.get(1).and_then(|raw| Id::read(*raw).ok()),
            _ => None,
        }
    }
}

/// Reads the entry called `name`.
pub(super) fn entry<'a, T: Entry<'a>>(name: &'static str, raw: Raw<'a>) -> Result<T, Wrong> {
    T::read(raw).map_err(|wrong| match wrong {
        Wrong::Option { .. } => wrong,
        Wrong::Type | Wrong::Id => Wrong::Option { name, wanted: T::WANTED },
    })
}

/// A message: its fields in the order of its list, then what may be left out.
macro_rules! message {
    (
        $(#[$meta:meta])*
        $name:ident $(<$lt:lifetime>)? {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        } $(tail { $(#[$tail_meta:meta])* $tail:ident: $tail_type:ty, })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name $(<$lt>)? {
            $($(#[$field_meta])* pub $field: $type,)*
            $($(#[$tail_meta])* pub $tail: $tail_type,)?
        }

        impl<'a> $crate::wamp::message::body::Body<'a> for $name $(<$lt>)? {
            const ITEMS: (usize, usize) = {
                let fields: &[&str] = &[$(stringify!($field)),*];
                let min = 1 + fields.len();
                (min, min $(+ <$tail_type as $crate::wamp::message::body::Tail<'a>>::ITEMS_MAX)?)
            };

            #[inline(always)]
            fn read(
                items: &$crate::wamp::message::body::Items<'a>,
            ) -> Result<Self, $crate::wamp::DecodeError> {
                let mut at = 0;
                Ok($name {
                    $($field: {
                        at += 1;
                        items.element(at, stringify!($field))?
                    },)*
                    $($tail: $crate::wamp::message::body::Tail::read(items, at + 1)?,)?
                })
            }

            fn write(
                &self,
                kind: $crate::wamp::MessageType,
                writer: &mut $crate::wamp::writer::Writer<'_>,
            ) {
                use $crate::wamp::walk::Kind;
                let len = Self::ITEMS.0 $(+ $crate::wamp::message::body::Tail::len(&self.$tail))?;
                writer.begin(Kind::Array, len);
                writer.unsigned(kind as u64);
                $($crate::wamp::element::Element::write(&self.$field, writer);)*
                $($crate::wamp::message::body::Tail::write(&self.$tail, writer);)?
                writer.end(Kind::Array);
            }
        }
    };
}

/// Options or details: fields that may be absent, each with its key.
macro_rules! options {
    (
        $(#[$meta:meta])*
        $name:ident $(<$lt:lifetime>)? {
            $($(#[$field_meta:meta])* $key:literal $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name $(<$lt>)? {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl<'a> $crate::wamp::element::Element<'a> for $name $(<$lt>)? {
            const WANTED: &'static str = "a map";

            fn read(
                raw: $crate::wamp::Raw<'a>,
            ) -> Result<Self, $crate::wamp::element::Wrong> {
                if raw.is_empty_map() {
                    return Ok(Self::default());
                }
                let entries = raw.entries();
                if !entries.are_of_a_map() {
                    return Err($crate::wamp::element::Wrong::Type);
                }
                let mut options = Self::default();
                for (key, value) in entries {
                    match &*key {
                        $($key => options.$field = $crate::wamp::message::body::entry($key, value)?,)*
                        _ => {}
                    }
                }
                Ok(options)
            }

            fn write(&self, writer: &mut $crate::wamp::writer::Writer<'_>) {
                use $crate::wamp::element::Entry;
                use $crate::wamp::walk::Kind;
                let len = 0 $(+ usize::from(!Entry::is_absent(&self.$field)))*;
                writer.begin(Kind::Map, len);
                $(if !Entry::is_absent(&self.$field) {
                    writer.key($key);
                    Entry::write(&self.$field, writer);
                })*
                writer.end(Kind::Map);
            }
        }
    };
}

pub(super) use {message, options};
