//! Starting anew: the same process with the same arguments, and nothing left of what it was.
//!
//! What a node cannot go on as, it shares with tasks, links and clients that still end; a fresh program image has none
//! of them. The process keeps its number, its listeners their addresses, and who waits for its end waits on.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Where the listeners were: `name=address`, with commas. Set by a process for itself alone.
const VARIABLE: &str = "WEIR_ANEW";

/// Where the listeners of this process were before it started anew; `None` = this is its first start.
pub fn addresses() -> Option<Vec<(String, SocketAddr)>> {
    std::env::var(VARIABLE).ok().map(|text| parse(&text))
}

fn parse(text: &str) -> Vec<(String, SocketAddr)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, address)| Some((name.to_owned(), address.parse().ok()?))).collect()
}

/// Does not return unless it fails.
pub fn start(addresses: &[(&'static str, SocketAddr)]) -> io::Error {
    let pairs: Vec<String> = addresses.iter().map(|(name, address)| format!("{name}={address}")).collect();
    let mut arguments = std::env::args_os();
    // The program that runs, even when its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(arguments.next().unwrap_or_default()).args(arguments).env(VARIABLE, pairs.join(","));
    command.exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_through() {
        let address = "[::1]:1883".parse().unwrap();
        assert_eq!(parse("mqtt=[::1]:1883,http=?"), [("mqtt".to_owned(), address)]);
    }
}
