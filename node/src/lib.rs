//! The machine put together.
