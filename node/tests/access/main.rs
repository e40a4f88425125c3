//! Promise: everybody may do what the rules say and nothing else, whatever way a message takes, and changes of
//! the rules hold for those who are connected.

#[path = "../clients/tools.rs"]
mod tools;

mod authenticators;
mod cashew;
mod certificates;
mod hijack;
mod live;
mod paths;
mod policies;
mod scene;
mod scram;
mod script;
mod sys;
