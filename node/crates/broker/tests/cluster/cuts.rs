//! Links that are cut in the middle of things.

use weir_model::Qos;

use super::bed::{Bed, until};
use super::client::{CLEAN, Client, STAYS};
use super::source::Source;

#[tokio::test]
async fn what_must_arrive_does_once_and_in_order_however_often_the_link_is_cut() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut clean = Client::connect(&b, "clean", CLEAN).await;
    clean.subscribe("t", Qos::ExactlyOnce).await;
    let mut stays = Client::connect(&b, "stays", STAYS).await;
    stays.subscribe("t", Qos::ExactlyOnce).await;
    let mut source = Source::on(&a, "p").await;
    for number in 0..400_u32 {
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][number as usize % 3];
        source.send("t", &format!("{number:03}"), qos, false).await;
        if number % 50 == 20 {
            bed.cut_link("a", "b");
        }
        if number % 50 == 45 {
            let up = || a.find_link(&b).is_some_and(|link| link.is_up());
            until("the link is back", up).await;
        }
        clean.take().await;
        stays.take().await;
    }
    bed.introduce().await;
    for client in [&mut clean, &mut stays] {
        for (place, qos) in [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce)] {
            let expected: Vec<_> = (0..400).filter(|n| n % 3 == place).map(|n| format!("{n:03}")).collect();
            let of_qos = |client: &Client| {
                let got = client.got.iter().filter(|got| got.qos == qos);
                got.map(|got| got.payload.clone()).collect::<Vec<_>>()
            };
            client.takes_until(|client| of_qos(client).len() >= expected.len()).await;
            assert_eq!(of_qos(client), expected, "{}", client.id);
        }
        assert_eq!(client.ended, None);
    }
    bed.is_at_rest().await;
}
