//! Sessions of a Redis on which nodes work: one that is ended and made anew while it is read is read again.

use super::super::Place;
use super::{ask_for, found};
use crate::copy::{CopyError, Pages};
use crate::redis::shard::Shard;

/// How often a session is read that is made anew each time; then it is left out.
const TRIES: u32 = 16;

/// Reads a session whole before it hands it on: no more than `store.queue_messages_max` and `store.queue_bytes_max` allow
/// a queue to hold.
pub(super) fn session(
    place: &Place,
    shard: Shard,
    id: &[u8],
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    let state_of = || {
        let mut state = redis::cmd("HGET");
        state.arg(place.layout.key(shard, "sessions")).arg(id);
        place.with(shard, async |connection| state.query_async::<Option<Vec<u8>>>(connection).await)
    };
    for _ in 0..TRIES {
        let Some(state) = state_of()? else { return Ok(()) };
        let keys = place.with(shard, async |connection| {
            let mut question = redis::pipe();
            ask_for(place, shard, id, &mut question);
            let answers: Vec<redis::Value> = question.query_async(connection).await?;
            found(&answers)
        })?;
        let mut rows = Vec::new();
        let mut keep = |more| {
            rows.extend(more);
            Ok(())
        };
        let mut gathered = Pages::new(&mut keep);
        let read = super::session(place, shard, (id, &state), &keys, &mut gathered);
        let read = read.and_then(|()| gathered.finish());
        // The keys of two sessions beside each other may look like a damaged one.
        if generation(&state_of()?.unwrap_or_default()) == generation(&state) {
            read?;
            return rows.into_iter().try_for_each(|row| pages.add(row));
        }
    }
    Ok(())
}

/// Which session it is: never given twice. Empty when it has ended.
fn generation(state: &[u8]) -> &[u8] {
    state.get(..6).unwrap_or_default()
}
