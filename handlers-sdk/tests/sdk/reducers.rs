//! A state per key that follows from all messages.

use serde::{Deserialize, Serialize};
use weir_handler::testing::{Reduction, message};
use weir_handler::{Failure, Message};

#[derive(Serialize, Deserialize)]
struct Sale {
    shop: String,
    pieces: i64,
}

fn map(sale: Sale) -> Vec<(String, i64)> {
    vec![(sale.shop, sale.pieces)]
}

fn reduce(_shop: &str, sold: Option<i64>, changes: Vec<(i64, i32)>) -> Option<i64> {
    let sold =
        changes.iter().fold(sold.unwrap_or(0), |sold, (pieces, weight)| sold + pieces * i64::from(*weight));
    (sold != 0).then_some(sold)
}

fn merge(_shop: &str, sold: Vec<i64>) -> i64 {
    sold.into_iter().sum()
}

fn strict_map(message: Message) -> Result<Vec<(String, i64)>, Failure> {
    message.json().map(map)
}

fn strict_reduce(shop: &str, sold: Option<i64>, changes: Vec<(i64, i32)>) -> Result<Option<i64>, Failure> {
    match reduce(shop, sold, changes) {
        Some(sold) if sold < 0 => Err(Failure::reject(format!("{shop} has sold less than nothing"))),
        sold => Ok(sold),
    }
}

mod exported {
    use super::{map, merge, reduce, strict_map, strict_reduce};

    weir_handler::reducer!(map, reduce);
    weir_handler::reducer!(strict_map, strict_reduce, merge);
}

fn sale(shop: &str, pieces: i64) -> Message {
    message("sold").json(&Sale { shop: shop.to_owned(), pieces })
}

#[test]
fn what_comes_counts_and_what_goes_is_taken_back() {
    let mut sold = Reduction::new(map, reduce);
    sold.comes(sale("east", 3)).unwrap();
    sold.comes(sale("west", 1)).unwrap();
    sold.comes(sale("east", 4)).unwrap();
    sold.goes(sale("east", 3)).unwrap();
    assert_eq!((sold.state("east"), sold.state("west")), (Some(4), Some(1)));
    sold.goes(sale("west", 1)).unwrap();
    assert_eq!(sold.states().len(), 1);
}

#[test]
fn a_reducer_may_fail() {
    let mut sold = Reduction::new(strict_map, strict_reduce);
    assert!(matches!(sold.comes(message("sold").text("?")), Err(Failure::Reject(_))));
    let failure = sold.goes(sale("east", 1)).unwrap_err();
    assert_eq!(failure, Failure::reject("east has sold less than nothing"));
    assert!(sold.states().is_empty());
}
