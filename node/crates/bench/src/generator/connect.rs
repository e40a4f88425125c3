//! Connecting the generator's clients, many at a time.

use weir_model::Qos;

use super::Flow;
use crate::Error;
use crate::args::{Role, Target};
use crate::client::{self, Client, Subscription};

/// Connections opened at the same time.
const PARALLEL: usize = 32;

/// The client id of the `index`-th client of a kind: letters and digits only, as some brokers want it.
pub(crate) fn name(kind: &str, index: usize) -> String {
    format!("bench{}{kind}{index}", std::process::id())
}

/// One subscriber for each filter of `flow`, connected and subscribed.
pub(super) async fn subscribers(flow: &Flow) -> Result<Vec<Client>, Error> {
    let names: Vec<String> = (0..flow.filters.len()).map(|index| name("s", index)).collect();
    let mut subscribers = clients(&flow.target, Role::Subscriber, &names).await?;
    for (client, filter) in subscribers.iter_mut().zip(&flow.filters) {
        subscribe(client, filter, flow.load.qos).await?;
    }
    Ok(subscribers)
}

/// One publisher for each topic of `flow`, connected.
pub(super) async fn publishers(flow: &Flow) -> Result<Vec<Client>, Error> {
    let names: Vec<String> = (0..flow.topics.len()).map(|index| name("p", index)).collect();
    clients(&flow.target, Role::Publisher, &names).await
}

/// A client for each id, in order, each at its place of the target.
pub(crate) async fn clients(
    target: &Target,
    role: Role,
    client_ids: &[String],
) -> Result<Vec<Client>, Error> {
    let mut connected = Vec::with_capacity(client_ids.len());
    for some in client_ids.chunks(PARALLEL) {
        let mut attempts = Vec::with_capacity(some.len());
        for (id, index) in some.iter().zip(connected.len()..) {
            let (url, options) = (target.url(role, index)?.clone(), target.client(id.clone()));
            attempts.push(tokio::spawn(async move { Client::connect(&url, &options).await }));
        }
        for attempt in attempts {
            connected.push(attempt.await.map_err(|_| Error::ThreadDied)??);
        }
    }
    Ok(connected)
}

/// Subscribes, and takes a refusal for an error.
pub(crate) async fn subscribe(client: &mut Client, filter: &str, qos: Qos) -> Result<(), Error> {
    let codes = client.subscribe(&[Subscription::new(filter, qos)], None).await?;
    match codes.first() {
        Some(code) if code.as_u8() >= 0x80 => {
            Err(client::Error::SubscribeRefused { filter: filter.to_owned(), code: *code }.into())
        }
        _ => Ok(()),
    }
}
