//! `X-Forwarded-For`: each proxy appends the address it was connected from.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

use super::Trusted;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The client of a request that came from `peer`: read from the right, the first address that is no
/// trusted proxy's, because what stands left of it anybody may have written. Port 0 = not told.
pub(crate) fn client(peer: SocketAddr, headers: &HeaderMap, trusted: &Trusted) -> SocketAddr {
    let mut client = peer;
    let mut lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    while trusted.contains(client.ip()) {
        let Some(line) = lines.next() else { break };
        // What is not text is nobody's address, and nothing left of it can be believed.
        let Ok(line) = line.to_str() else { break };
        for entry in line.rsplit(',') {
            let Some(address) = address(entry.trim()) else { return client };
            client = SocketAddr::new(address, 0);
            if !trusted.contains(address) {
                return client;
            }
        }
    }
    client
}

/// An address, in brackets and with a port or without.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who the client is when 10.0.0.1 connects with these header lines and 10.0.0.0/8 is trusted.
    fn seen(lines: &[&str]) -> String {
        from("10.0.0.1:999", lines)
    }

    fn from(peer: &str, lines: &[&str]) -> String {
        let trusted = Trusted::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a header value"));
        }
        client(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        assert_eq!(seen(&["192.0.2.7"]), "192.0.2.7:0");
        assert_eq!(seen(&["1.1.1.1, 192.0.2.7, 10.9.9.9"]), "192.0.2.7:0");
        assert_eq!(seen(&["1.1.1.1, 192.0.2.7", "10.9.9.9"]), "192.0.2.7:0");
        assert_eq!(seen(&["10.2.2.2,10.3.3.3"]), "10.2.2.2:0");
    }

    #[test]
    fn addresses_are_read_in_every_form_in_use() {
        assert_eq!(seen(&["192.0.2.7:4711"]), "192.0.2.7:0");
        assert_eq!(seen(&["2001:db8::7"]), "[2001:db8::7]:0");
        assert_eq!(seen(&["[2001:db8::7]"]), "[2001:db8::7]:0");
        assert_eq!(seen(&["[2001:db8::7]:4711"]), "[2001:db8::7]:0");
        assert_eq!(seen(&["::ffff:10.1.1.1"]), "10.1.1.1:0");
    }

    #[test]
    fn who_is_no_proxy_cannot_name_another_address() {
        assert_eq!(from("192.0.2.1:999", &["127.0.0.1"]), "192.0.2.1:999");
    }

    #[test]
    fn nothing_left_of_what_is_no_address_is_believed() {
        assert_eq!(seen(&["192.0.2.7, unknown"]), "10.0.0.1:999");
        assert_eq!(seen(&["192.0.2.7, , 10.9.9.9"]), "10.9.9.9:0");
        assert_eq!(seen(&[""]), "10.0.0.1:999");
        assert_eq!(seen(&[]), "10.0.0.1:999");
    }
}
