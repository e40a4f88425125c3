//! Generates the control messages of links from proto/weir/peer/v1.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let proto = "../../../proto";
    println!("cargo::rerun-if-changed={proto}/weir/peer/v1/peer.proto");
    let files = protox::compile(["weir/peer/v1/peer.proto"], [proto])?;
    prost_build::Config::new().bytes([".weir.peer.v1.Note.body"]).compile_fds(files)?;
    Ok(())
}
