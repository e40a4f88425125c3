//! Reading ahead: pages of a partition, one at a time.

use std::sync::Arc;

use weir_store::{Page, PartitionKey, ReadError, Start, StreamPage};

use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::catalog::Counts;
use crate::stream::group::place::Found;

/// What is read at a time.
const PAGE: Page = Page { rows_max: 500, bytes_max: 1 << 20 };

/// Milliseconds until a failed read is tried again.
const AGAIN_MS: u64 = 200;

/// A page that is wanted.
pub(in super::super) struct Read {
    key: PartitionKey,
    fence: u64,
    start: Start,
}

impl State {
    /// The pages that are wanted now; they count as being read.
    pub(super) fn reads(&mut self, now: u64) -> Vec<Read> {
        if !self.delivers() || self.seats.is_empty() {
            return Vec::new();
        }
        let mut reads = Vec::new();
        for post in self.posts.values_mut().filter(|post| post.leaving.is_none() && !post.is_reading) {
            if let Some(start) = post.place.wants().filter(|_| post.read_at <= now) {
                post.is_reading = true;
                reads.push(Read { key: post.key.clone(), fence: post.fence, start });
            }
        }
        reads
    }
}

impl Hub {
    /// Reads pages, and those that are wanted after them.
    pub(super) fn read(self: &Arc<Self>, broker: &Broker, reads: Vec<Read>) {
        for read in reads {
            let (hub, broker) = (self.clone(), broker.clone());
            let runtime = broker.runtime().clone();
            runtime.spawn(async move {
                let page = broker.store().read_stream(read.key.clone(), read.start, PAGE).await;
                let more = hub.paged(&read, page);
                hub.read(&broker, more);
            });
        }
    }

    fn paged(&self, read: &Read, page: Result<StreamPage, ReadError>) -> Vec<Read> {
        let (now, unix) = (clock::now_ms(), clock::unix());
        let mut state = self.state.lock();
        let partition = read.key.partition;
        let ours = |post: &&mut super::Post| post.key == read.key && post.fence == read.fence;
        let Some(post) = state.posts.get_mut(&partition).filter(ours) else { return Vec::new() };
        post.is_reading = false;
        match page {
            Ok(page) => {
                post.looked_at = now;
                post.trouble_since = post.trouble_since.filter(|_| post.place.changes() > post.stored);
                let found = post.place.page(page, now, unix);
                if found.ends_at.is_some() || found.is_gone {
                    state.went_back(partition, &found, now);
                } else {
                    post.touched(now);
                }
                self.report(&found);
                state.wake_members();
            }
            Err(error) => {
                tracing::warn!(group = %self.key.group, stream = %self.key.stream, partition, %error,
                    "a group cannot read");
                post.failed(now);
                post.read_at = now + AGAIN_MS;
            }
        }
        state.reads(now)
    }

    fn report(&self, found: &Found) {
        if found.lost > 0 {
            Counts::add(&self.counts.lost, "lost", found.lost);
            tracing::warn!(group = %self.key.group, stream = %self.key.stream, records = found.lost,
                "records were let go before a group had read them");
        }
        if found.went_back {
            Counts::add(&self.counts.went_back, "went_back", 1);
            tracing::warn!(group = %self.key.group, stream = %self.key.stream,
                "a partition has forgotten records that a group had read: it goes on from what there is");
        }
    }
}

impl State {
    /// The partition ends below what was read, or is no more.
    fn went_back(&mut self, partition: u32, found: &Found, now: u64) {
        let Some(end) = found.ends_at else { return self.drop_post(partition, now) };
        let Some(post) = self.posts.get_mut(&partition) else { return };
        let mut taken = Vec::new();
        post.place.recall(now, |_| true, &mut taken);
        post.place.restart(end);
        post.touched(now);
        self.tell(taken.into_iter().map(|taken| (partition, taken)));
    }
}
