//! Attacks on the flow of messages: who reads nothing, sends everything, or wants all of it.

mod filters;
mod floods;
mod readers;
mod wills;
