//! What a protocol asks of itself at the other nodes: only the protocol knows what its questions mean.

use std::sync::{Arc, OnceLock};

use weir_store::{Owner, SessionKey};

use super::Admin;
use crate::broker::Broker;

/// Answers a question of another node; `None` = it is not understood.
type Answers = Box<dyn Fn(&Broker, &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// Hears of a session whose node is gone.
type Mourns = Box<dyn Fn(&Broker, &SessionKey, Option<&Arc<Owner>>) + Send + Sync>;

/// What the node's protocols do when other nodes ask or are gone.
#[derive(Default)]
pub(super) struct Inquiries {
    answers: OnceLock<Answers>,
    mourns: OnceLock<Mourns>,
}

/// What came of a question.
#[derive(Debug, Default)]
pub struct Inquired {
    /// By the name of the node that says so; at most 1 MiB of each.
    pub answers: Vec<(Arc<str>, Vec<u8>)>,
    /// Nodes that did not answer in time, or do not understand.
    pub missing: Vec<Arc<str>>,
}

impl Admin {
    /// How questions of other nodes are answered, beside connections and in a thread that may take its time. Only the
    /// first one counts.
    pub fn on_inquiry(&self, answer: impl Fn(&Broker, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) {
        let _ = self.inquiries.answers.set(Box::new(answer));
    }

    /// What is done when a session that ended with its connection has lost its node: one of the nodes that are left is
    /// told. Only the first one counts.
    pub fn on_orphan(
        &self,
        mourn: impl Fn(&Broker, &SessionKey, Option<&Arc<Owner>>) + Send + Sync + 'static,
    ) {
        let _ = self.inquiries.mourns.set(Box::new(mourn));
    }
}

impl Broker {
    /// Asks all other nodes, or those of these names, and waits two seconds at most.
    pub async fn inquire(&self, question: Vec<u8>, of: Option<&[Arc<str>]>) -> Inquired {
        if !self.peers().any() {
            return Inquired::default();
        }
        let mut inquired = Inquired::default();
        for (node, answer) in self.ask_protocol(question, of).await {
            match answer {
                Some(answer) => inquired.answers.push((node, answer)),
                None => inquired.missing.push(node),
            }
        }
        inquired
    }

    pub(super) fn answer_inquiry(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.admin().inquiries.answers.get()?(self, question)
    }

    pub(crate) fn mourn(&self, key: &SessionKey, owner: Option<&Arc<Owner>>) {
        if let Some(mourn) = self.admin().inquiries.mourns.get() {
            mourn(self, key, owner);
        }
    }
}
