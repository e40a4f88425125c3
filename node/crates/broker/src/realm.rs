//! A realm: a name space of topics. Clients of two realms never meet.

use std::sync::Arc;

use crate::binding::middleware::Chain;
use crate::retained::Retained;
use crate::routes::Routes;

#[derive(Default)]
pub struct Realm {
    pub name: Arc<str>,
    pub routes: Routes,
    pub retained: Retained,
    /// Who is asked before anything goes on.
    pub middleware: Chain,
}

impl Realm {
    pub fn new(name: Arc<str>) -> Realm {
        Realm { name, ..Realm::default() }
    }
}
