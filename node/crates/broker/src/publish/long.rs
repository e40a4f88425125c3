//! Matches that take long are made beside the threads that serve connections, one at a time in the
//! whole process: filters can be made so that each new topic passes a hundred thousand of them, and
//! then only those wait who publish there.

use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_model::Topic;

use crate::broker::Broker;
use crate::realm::Realm;
use crate::routes::Matched;

/// Who finds it taken waits; a connection waits for one match at most.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// A match made for a publish that waits for it. It holds for that publish whoever has come or gone
/// meanwhile: it was begun after the publish came.
pub struct LongMatch {
    pub topic: Topic,
    pub matched: Arc<Matched>,
}

/// Everybody who wants `topic`, however long it takes.
pub async fn find(broker: Broker, realm: Arc<Realm>, topic: Topic) -> LongMatch {
    // Never closed; without a permit it would only be less polite.
    let _turn = ONE_AT_A_TIME.acquire().await;
    let making = tokio::task::spawn_blocking(move || {
        let matched = Arc::new(realm.routes.find(&topic, broker.access()));
        LongMatch { topic, matched }
    });
    match making.await {
        Ok(made) => made,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime ends, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

impl Broker {
    /// Everybody who wants `topic` in a realm.
    pub(crate) async fn find(&self, realm: &Arc<Realm>, topic: &Topic) -> Arc<Matched> {
        match realm.routes.find_quickly(topic, self.access()) {
            Some(matched) => Arc::new(matched),
            None => find(self.clone(), realm.clone(), topic.clone()).await.matched,
        }
    }
}
