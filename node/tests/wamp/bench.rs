//! `weir bench wamp` runs to its end: every row measures something and loses nothing.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_row_of_the_wamp_bench_is_measured() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_weir"));
    bench.args(["bench", "wamp", "--quick", "--peer", "none", "--sessions", "20", "--json"]);
    let output = bench.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        assert!(row["failures"] == 0 && !row["figures"].as_array().unwrap().is_empty(), "{row} {said}");
    }
    let rate = report["rows"][0]["figures"][0]["median"].as_f64().unwrap();
    assert!(rate > 0.0, "{report}");
}
