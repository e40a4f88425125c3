//! The PROXY protocol, versions 1 and 2: a header in front of all bytes of a TCP connection.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header of version 1, line end included.
const V1_BYTES_MAX: usize = 107;
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;
/// The longest header of version 2 taken: addresses and what proxies add about TLS.
const V2_BYTES_MAX: usize = 4096;
/// Version 2, command LOCAL: the proxy speaks for itself.
const V2_LOCAL: u8 = 0x20;

/// Why a connection's PROXY protocol header was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It ended within the header.
    #[error("the connection failed within its proxy protocol header: {source}")]
    Io { source: io::Error },
    /// The first bytes are no PROXY protocol.
    #[error("no proxy protocol header")]
    Missing,
    /// A text header against the rules.
    #[error("a broken proxy protocol header: {source}")]
    Text { source: v1::BinaryParseError },
    /// A port with a sign.
    #[error("a proxy protocol header with a port that is no number")]
    Port,
    /// A binary header against the rules.
    #[error("a broken proxy protocol header: {source}")]
    Binary { source: v2::ParseError },
    /// A longer header than is taken.
    #[error("a proxy protocol header of {bytes} bytes, at most {bytes_max} are taken")]
    TooLong { bytes: usize, bytes_max: usize },
}

/// Takes the header off the stream, and not a byte more. `None` = the proxy connected for itself or
/// does not say for whom: the address of the connection holds.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut start = [0; v2::PROTOCOL_PREFIX.len()];
    fill(stream, &mut start).await?;
    if start == v2::PROTOCOL_PREFIX {
        return read_binary(stream).await;
    }
    if start.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return read_text(stream, start.to_vec()).await;
    }
    Err(HeaderError::Missing)
}

async fn read_text(stream: &mut TcpStream, mut line: Vec<u8>) -> Result<Option<SocketAddr>, HeaderError> {
    let mut seen = [0; V1_BYTES_MAX];
    while !line.ends_with(b"\n") {
        let room = V1_BYTES_MAX - line.len();
        if room == 0 {
            return Err(HeaderError::TooLong { bytes: V1_BYTES_MAX + 1, bytes_max: V1_BYTES_MAX });
        }
        // Looked at before it is taken: what stands behind the line end is the client's.
        let there = stream.peek(&mut seen[..room]).await.map_err(|source| HeaderError::Io { source })?;
        let end = seen[..there].iter().position(|byte| *byte == b'\n');
        let before = line.len();
        // At the end of the stream there is nothing to see, and reading one byte says so.
        line.resize(before + end.map_or(there, |end| end + 1).max(1), 0);
        fill(stream, &mut line[before..]).await?;
    }
    let header = v1::Header::try_from(&line[..]).map_err(|source| HeaderError::Text { source })?;
    if header.header.len() != line.len() {
        return Err(HeaderError::Missing);
    }
    match header.addresses {
        v1::Addresses::Unknown => Ok(None),
        // What Rust reads as a number may have a sign.
        _ if line.contains(&b'+') => Err(HeaderError::Port),
        v1::Addresses::Tcp4(ip) => Ok(Some((ip.source_address, ip.source_port).into())),
        v1::Addresses::Tcp6(ip) => Ok(Some((ip.source_address, ip.source_port).into())),
    }
}

async fn read_binary(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = v2::PROTOCOL_PREFIX.to_vec();
    header.resize(V2_FIXED_BYTES, 0);
    fill(stream, &mut header[v2::PROTOCOL_PREFIX.len()..]).await?;
    let bytes = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([header[14], header[15]]));
    if bytes > V2_BYTES_MAX {
        return Err(HeaderError::TooLong { bytes, bytes_max: V2_BYTES_MAX });
    }
    header.resize(bytes, 0);
    fill(stream, &mut header[V2_FIXED_BYTES..]).await?;
    if header[12] == V2_LOCAL {
        // Whatever follows is to be skipped.
        return Ok(None);
    }
    let header = v2::Header::try_from(&header[..]).map_err(|source| HeaderError::Binary { source })?;
    match (header.protocol, header.addresses) {
        (v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Ok(Some((ip.source_address, ip.source_port).into()))
        }
        (v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Ok(Some((ip.source_address, ip.source_port).into()))
        }
        _ => Ok(None),
    }
}

async fn fill(stream: &mut TcpStream, bytes: &mut [u8]) -> Result<(), HeaderError> {
    stream.read_exact(bytes).await.map(drop).map_err(|source| HeaderError::Io { source })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What `wire` is read as, and what is left of it; sent at once or byte by byte.
    async fn read_from(wire: &[u8], slowly: bool) -> (Result<Option<String>, HeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        client.set_nodelay(true).expect("an option");
        let (mut server, _) = listener.accept().await.expect("accepted");
        let sending = async {
            for piece in wire.chunks(if slowly { 1 } else { wire.len().max(1) }) {
                // A server that has seen enough may be gone.
                if client.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
        };
        let reading = async {
            let header = read(&mut server).await.map(|address| address.map(|address| address.to_string()));
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.expect("the rest");
            (header, rest)
        };
        tokio::join!(sending, reading).1
    }

    async fn good(wire: &[u8]) -> Option<String> {
        let whole = [wire, b"the client's"].concat();
        let mut read = None;
        for slowly in [false, true] {
            let (header, rest) = read_from(&whole, slowly).await;
            assert_eq!(rest, b"the client's");
            read = header.expect("a good header");
        }
        read
    }

    async fn bad(wire: &[u8]) -> HeaderError {
        read_from(wire, false).await.0.expect_err("refused")
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn a_text_header_names_the_client() {
        let tcp4 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 1883\r\n";
        assert_eq!(good(tcp4).await.as_deref(), Some("192.0.2.7:4711"));
        let tcp6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\n";
        assert_eq!(good(tcp6).await.as_deref(), Some("[2001:db8::7]:4711"));
        assert_eq!(good(b"PROXY UNKNOWN\r\n").await, None);
        assert_eq!(good(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n").await, None);
    }

    #[tokio::test]
    async fn the_longest_text_header_of_the_specification_is_taken_and_a_longer_one_is_not() {
        let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
        assert_eq!(longest.len(), V1_BYTES_MAX);
        assert_eq!(good(longest.as_bytes()).await, None);
        let longer = format!("PROXY UNKNOWN {long} {long} 65535 655350\r\n");
        assert!(matches!(bad(longer.as_bytes()).await, HeaderError::TooLong { .. }));
    }

    #[tokio::test]
    async fn a_binary_header_names_the_client_and_what_it_adds_is_skipped() {
        let ipv4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 7, 0x5b];
        assert_eq!(good(&binary(0x21, 0x11, &ipv4)).await.as_deref(), Some("192.0.2.7:4711"));
        let added = [&ipv4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(good(&binary(0x21, 0x11, &added)).await.as_deref(), Some("192.0.2.7:4711"));
        let mut ipv6 = [0; 36];
        ipv6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().expect("one").octets());
        ipv6[32..34].copy_from_slice(&4711u16.to_be_bytes());
        assert_eq!(good(&binary(0x21, 0x21, &ipv6)).await.as_deref(), Some("[2001:db8::7]:4711"));
    }

    #[tokio::test]
    async fn a_proxy_that_connects_for_itself_keeps_its_own_address() {
        assert_eq!(good(&binary(0x20, 0x00, &[])).await, None);
        assert_eq!(good(&binary(0x20, 0x11, &[1, 2, 3])).await, None);
        assert_eq!(good(&binary(0x21, 0x00, &[])).await, None);
    }

    #[tokio::test]
    async fn what_is_no_header_or_a_broken_one_is_refused() {
        assert!(matches!(bad(b"GET / HTTP/1.1\r\n\r\n").await, HeaderError::Missing));
        assert!(matches!(bad(b"PROXY TCP4 1.2.3.4 1.2.3.4 +80 80\r\n").await, HeaderError::Port));
        for text in [
            &b"PROXY TCP4 1.2.3.4 1.2.3.4 80 80\n"[..],
            b"PROXY TCP4 1.2.3.4 ::1 80 80\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 80 65536\r\n",
            b"PROXY TCP4 1.2.3.4  1.2.3.4 80 80\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 80 80\r\n",
            b"PROXY\r TCP4 1.2.3.4 1.2.3.4 80 80\r\n",
            b"PROXYX TCP4 1.2.3.4 1.2.3.4 80 80\r\n",
        ] {
            let error = bad(text).await;
            assert!(matches!(error, HeaderError::Text { .. } | HeaderError::Missing), "{error}");
        }
        for (command, family, body) in
            [(0x31, 0x11, 12), (0x22, 0x11, 12), (0x21, 0x51, 12), (0x21, 0x11, 11)]
        {
            let error = bad(&binary(command, family, &vec![0; body])).await;
            assert!(matches!(error, HeaderError::Binary { .. }), "{error}");
        }
        let endless = bad(&binary(0x21, 0x11, &[0; 65_535])).await;
        assert!(matches!(endless, HeaderError::TooLong { bytes: 65_551, bytes_max: 4096 }), "{endless}");
    }

    #[tokio::test]
    async fn an_end_within_the_header_is_an_error_and_no_loop() {
        for wire in [&b""[..], b"PROXY TCP4 1", &binary(0x21, 0x11, &[0; 12])[..20]] {
            assert!(matches!(bad(wire).await, HeaderError::Io { .. }));
        }
    }
}
