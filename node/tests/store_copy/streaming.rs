//! A stream that is consumed before and after a copy: what was acknowledged stays so, the rest goes on where it was.

use weir_admin::client::Client as Admin;
use weir_admin::proto::{
    GroupSpec, StreamRecord, StreamRetention, StreamSpec, StreamsCreateRequest, StreamsPublishRequest,
    StreamsPublishResponse,
};
use weir_testkit::Node;

use crate::scene::{Member, admin, group, message, payload, publish, read, reading, stream, text_of, until};

/// What a group has to find.
pub struct Consuming {
    /// Payloads that were delivered and not acknowledged.
    open: Vec<String>,
    /// Where the records of the stream stand.
    places: Vec<(u32, String, String)>,
    dead: Vec<(u32, String, String)>,
    once: StreamsPublishResponse,
}

impl Consuming {
    /// Of seven records three are acknowledged, one waits for an hour, one is a dead letter, and two are open.
    pub async fn begin(node: &Node) -> Consuming {
        let admin = admin(node).await;
        let retention = Some(StreamRetention { records_max: 1000, ..StreamRetention::default() });
        let spec = StreamSpec { filters: vec!["a/#".into()], partitions: 2, retention, ..Default::default() };
        let request = StreamsCreateRequest { name: "orders".into(), spec: Some(spec), ..Default::default() };
        admin.streams().create(request).await.expect("made");
        stream(&admin, "dead", &[]).await;
        let spec = GroupSpec { deliveries_max: Some(2), dead_letter: "dead".into(), ..GroupSpec::default() };
        group(&admin, "orders", "g", spec).await;
        for number in 0..6 {
            publish(&admin, &format!("a/{number}"), &number.to_string()).await;
        }
        let once = publish_once(&admin).await;
        assert!(!once.deduplicated);

        let mut member = Member::join(&admin, "orders", "g").await;
        let records = member.take(7).await;
        assert!(member.ack(&records[..3]).await.refused.is_empty());
        assert!(member.nack(&records[3], Some(3_600_000)).await.refused.is_empty());
        assert!(member.nack(&records[4], Some(0)).await.refused.is_empty());
        let again = member.take(1).await;
        assert!(again[0].deliveries == 2 && member.nack(&again[0], None).await.refused.is_empty());
        until("the dead letter", async || (!places(&admin, "dead").await.is_empty()).then_some(())).await;
        member.leave().await;
        Consuming {
            open: sorted(text_of(&records[5..])),
            places: places(&admin, "orders").await,
            dead: places(&admin, "dead").await,
            once,
        }
    }

    /// Finds everything as it was, finishes what was open, and leaves something new open.
    pub async fn go_on(&mut self, node: &Node, late: &str) {
        let admin = admin(node).await;
        assert_eq!(places(&admin, "orders").await, self.places);
        assert_eq!(places(&admin, "dead").await, self.dead);
        let again = publish_once(&admin).await;
        assert_eq!((again.deduplicated, &again.position), (true, &self.once.position));
        assert_eq!(places(&admin, "orders").await, self.places, "and it was not kept again");

        let mut member = Member::join(&admin, "orders", "g").await;
        let records = member.take(self.open.len()).await;
        assert_eq!(sorted(text_of(&records)), self.open);
        assert!(member.ack(&records).await.refused.is_empty());
        publish(&admin, "a/late", late).await;
        let newest = member.take(1).await;
        assert_eq!(text_of(&newest), [late], "what waits for its time still does");
        member.leave().await;
        self.open = vec![late.to_owned()];
        self.places = places(&admin, "orders").await;
    }
}

/// A message under an idempotency key.
async fn publish_once(admin: &Admin) -> StreamsPublishResponse {
    let request = StreamsPublishRequest { idempotency_key: "order-17".into(), ..message("a/once", "once") };
    admin.streams().publish(request).await.expect("published").into_inner()
}

/// Partition, position and payload of every record.
async fn places(admin: &Admin, stream: &str) -> Vec<(u32, String, String)> {
    let records = read(admin, reading(stream)).await;
    let place =
        |record: &StreamRecord| (record.partition, record.position.clone(), payload(record).to_owned());
    let mut places: Vec<_> = records.iter().map(place).collect();
    places.sort();
    places
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
