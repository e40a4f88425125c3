//! Attacks on who may come in and what they may do.

mod accounts;
mod files;
mod identity;
mod token;
mod tokens;
