//! Goes past whole JSON values: what [`Walk`] does step by step, for who wants no steps, in half the time.
//!
//! [`Walk`]: super::Walk

use smallvec::SmallVec;

use super::Kind;
use super::json::{NO_COLON, closes, expect, item, key, no_end, skip_space, string_end};
use crate::wamp::{DecodeError, Limits};

/// Where one is.
pub(super) struct Skip<'a, 'w> {
    pub bytes: &'a [u8],
    pub at: &'w mut usize,
    /// Items so far, keys counted.
    pub items: &'w mut usize,
    pub limits: &'w Limits,
    /// How many lists and maps the value stands in.
    pub depth: usize,
}

/// The lists and maps that have begun in the value.
type Open = SmallVec<[Kind; 32]>;

impl Skip<'_, '_> {
    /// Goes past the value that stands here.
    pub fn value(mut self) -> Result<(), DecodeError> {
        if !matches!(self.bytes.get(*self.at), Some(b'[' | b'{')) {
            self.count()?;
            return self.scalar();
        }
        let mut open = Open::new();
        loop {
            self.count()?;
            match self.bytes.get(*self.at) {
                Some(b'[') => self.begin(&mut open, Kind::Array)?,
                Some(b'{') => self.begin(&mut open, Kind::Map)?,
                _ => {
                    self.scalar()?;
                    self.behind_value(&mut open)?;
                }
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Goes to the first value of a list or map, or behind it if it has none.
    #[inline]
    fn begin(&mut self, open: &mut Open, kind: Kind) -> Result<(), DecodeError> {
        if self.depth + open.len() >= self.limits.depth_max {
            return Err(DecodeError::TooDeep { at: *self.at, max: self.limits.depth_max });
        }
        *self.at += 1;
        open.push(kind);
        match self.ends(kind) {
            true => {
                open.pop();
                self.behind_value(open)
            }
            false => self.behind_key(kind),
        }
    }

    /// Goes to the next value, or behind all lists and maps if there is none.
    #[inline]
    fn behind_value(&mut self, open: &mut Open) -> Result<(), DecodeError> {
        while let Some(kind) = open.last().copied() {
            if !self.ends(kind) {
                expect(self.bytes, self.at, b',', no_end(kind))?;
                skip_space(self.bytes, self.at);
                return self.behind_key(kind);
            }
            open.pop();
        }
        Ok(())
    }

    /// Goes behind the end of a list or map, if it stands here.
    #[inline]
    fn ends(&mut self, kind: Kind) -> bool {
        skip_space(self.bytes, self.at);
        let ends = self.bytes.get(*self.at) == Some(&closes(kind));
        *self.at += usize::from(ends);
        ends
    }

    /// In a map, goes past the key of an entry.
    #[inline]
    fn behind_key(&mut self, kind: Kind) -> Result<(), DecodeError> {
        if kind == Kind::Array {
            return Ok(());
        }
        self.count()?;
        key(self.bytes, self.at)?;
        skip_space(self.bytes, self.at);
        expect(self.bytes, self.at, b':', NO_COLON)?;
        skip_space(self.bytes, self.at);
        Ok(())
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), DecodeError> {
        match self.bytes.get(*self.at) {
            Some(b'"') => *self.at = string_end(self.bytes, *self.at)?,
            _ => {
                item(self.bytes, self.at)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn count(&mut self) -> Result<(), DecodeError> {
        *self.items += 1;
        if *self.items > self.limits.items_max {
            return Err(DecodeError::TooManyItems { at: *self.at, max: self.limits.items_max });
        }
        Ok(())
    }
}
