//! `weir bench routes`: how long a match takes among many subscriptions, with no socket before it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use weir_broker::Session;
use weir_broker::access::Access;
use weir_broker::routes::Routes;
use weir_broker::store::{SessionKey, SessionKind, SubscriptionOptions};
use weir_model::Filter;

/// Subscriptions of one session.
const PER_SESSION: usize = 1000;

/// Matches timed.
const MATCHES: usize = 200_000;

#[derive(Debug, clap::Args)]
pub struct RoutesArgs {
    /// Subscriptions to topics of their own, beside one wildcard
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    subscriptions: usize,
    /// Wildcard filters beside the one that matches
    #[arg(long, value_name = "N", default_value_t = 0)]
    wildcards: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Fills the tables, then times matches that no cache has seen.
pub fn run(args: &RoutesArgs) -> Result<(), super::Failure> {
    let (routes, access) = (Routes::default(), Access::open());
    let filled = Instant::now();
    fill(&routes, args);
    let insert_ns = filled.elapsed().as_nanos() as f64 / (args.subscriptions + args.wildcards + 1) as f64;
    let topics: Vec<String> = (0..1024).map(|n| topic(n * 7919 % args.subscriptions.max(1))).collect();
    let started = Instant::now();
    let mut found = 0;
    for n in 0..MATCHES {
        found += black_box(routes.find(&topics[n % topics.len()], &access)).targets.len();
    }
    let match_ns = started.elapsed().as_nanos() as f64 / MATCHES as f64;
    let receivers = found as f64 / MATCHES as f64;
    if args.json {
        println!("{}", json!({ "match_ns": match_ns, "insert_ns": insert_ns, "receivers": receivers }));
    } else {
        println!("{match_ns:.0} ns a match with {receivers} receivers, {insert_ns:.0} ns an insert");
    }
    Ok(())
}

fn topic(n: usize) -> String {
    format!("site/{}/device/{n}/state", n % 100)
}

fn fill(routes: &Routes, args: &RoutesArgs) {
    let options = SubscriptionOptions::default();
    let insert = |session: &Arc<Session>, text: &str| {
        if let Ok(filter) = Filter::new(text) {
            routes.insert(&filter, session, options, false);
        }
    };
    let mut current = session(0);
    for n in 0..args.subscriptions {
        if n % PER_SESSION == 0 {
            current = session(n / PER_SESSION);
        }
        insert(&current, &topic(n));
    }
    for n in 0..args.wildcards {
        insert(&current, &format!("other/{n}/+/state"));
    }
    insert(&session(usize::MAX), "site/+/device/#");
}

fn session(n: usize) -> Arc<Session> {
    let name = format!("bench-{n}").into();
    Session::new(SessionKey { realm: "default".into(), kind: SessionKind::Client, name }, None, None)
}
