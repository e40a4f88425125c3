//! Hands out what the desk has accepted, through the one door: queues and streams first, then who is online.

use std::sync::Arc;

use weir_model::{Level, Message, MessageId, Position};
use weir_store::Refusal;

use crate::broker::Broker;
use crate::fanout;
use crate::peers::Outgoing;
use crate::publish::plan::Plan;
use crate::realm::Realm;
use crate::session::Session;
use crate::stream::history;

/// A message that is stored as what it is, or not to be.
pub(crate) struct Accepted<'a> {
    pub message: &'a Arc<Message>,
    /// The same at every try.
    pub id: MessageId,
    /// Where it stands as retained value.
    pub position: Option<Position>,
    pub publisher: Option<&'a Arc<Session>>,
    pub level: Option<Level>,
}

/// What became of it.
pub(crate) struct HandedOut {
    pub copies: u64,
    /// Where it stands in the first stream that captured it.
    pub recorded: Option<Position>,
}

impl Broker {
    /// Gives an accepted message to its receivers.
    pub(crate) async fn hand_out(
        &self,
        realm: &Arc<Realm>,
        accepted: &Accepted<'_>,
    ) -> Result<HandedOut, Refusal> {
        let Accepted { message, id, position, publisher, level } = *accepted;
        let matched = self.find(realm, &message.topic).await;
        let recorded = history::numbered(message, &matched, position);
        let message = recorded.as_ref().unwrap_or(message);
        let mut plan =
            Box::new(Plan::stored(self, realm, message, &matched, publisher, (Some(id), position)));
        let steps = std::mem::take(&mut plan.steps);
        let answer = if steps.is_empty() { Vec::new() } else { self.submit_at(steps, level).await };
        let client_id = publisher.map(|session| session.client_id());
        let plan = {
            let mut plan = plan.settle(self, Some(answer))?;
            match plan.again(message, client_id) {
                Some(again) => plan.settle(self, Some(again.submit(self).await))?,
                None => plan,
            }
        };
        let matched = self.find(realm, &message.topic).await;
        let mut outgoing = Outgoing::of(position);
        let kept = (message, position);
        let mut copies = fanout::deliver_kept(self, realm, kept, &matched, publisher, Some(&mut outgoing));
        copies += fanout::correct(self, realm, (message, position), &matched);
        copies += plan.push(self, &mut outgoing);
        copies += outgoing.send(self, &realm.name, message);
        matched.live.iter().for_each(|live| live.offer(message));
        Ok(HandedOut { copies, recorded: plan.recorded() })
    }
}
