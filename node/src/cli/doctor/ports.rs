//! Whether each listener can have its port, and who has it if not.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::Check;
use crate::config::Listen;

/// The state of a listening TCP socket in `/proc/net/tcp`.
const TCP_LISTENING: &str = "0A";

/// One check for every listener that is not off.
pub fn all(listen: &Listen) -> Vec<Check> {
    let all = listen.all().into_iter().chain([("admin", listen.admin)]);
    let open = all.filter_map(|(name, address)| Some((name, address.socket()?)));
    open.map(|(name, address)| one(name, address)).collect()
}

/// Whether a listener of that name can have its port.
pub fn one(listener: &str, address: SocketAddr) -> Check {
    let udp = matches!(listener, "quic" | "peer");
    let bound = if udp { UdpSocket::bind(address).map(drop) } else { TcpListener::bind(address).map(drop) };
    let name = format!("port {listener}");
    match bound {
        Ok(()) if address.port() == 0 => Check::ok(name, format!("{address}: takes a free one")),
        Ok(()) => Check::ok(name, format!("{address} is free")),
        Err(error) => refused(name, listener, address, udp, &error),
    }
}

fn refused(name: String, listener: &str, address: SocketAddr, udp: bool, error: &io::Error) -> Check {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder =
                holder(address.port(), udp).unwrap_or_else(|| "a program of another user".to_owned());
            let advice = format!("stop it, or --{listener} with another port, or --{listener} off");
            Check::fix(name, format!("{address} is taken by {holder}"), advice)
        }
        io::ErrorKind::PermissionDenied => {
            let advice = "ports below 1024 need root or CAP_NET_BIND_SERVICE";
            Check::fix(name, format!("{address} may not be taken"), advice)
        }
        io::ErrorKind::AddrNotAvailable => {
            Check::fix(name, format!("{address} is no address of this machine"), "`ip address` lists them")
        }
        _ => Check::fix(name, format!("{address}: {error}"), format!("--{listener} with another address")),
    }
}

/// The program that holds a port, as far as it can be seen: `mosquitto (pid 812)`.
pub fn holder(port: u16, udp: bool) -> Option<String> {
    let tables = if udp { ["/proc/net/udp", "/proc/net/udp6"] } else { ["/proc/net/tcp", "/proc/net/tcp6"] };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| inodes_on(&table, port, udp))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let mut targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        if targets.any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str())) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inodes of the sockets bound to a port in one of the kernel's tables.
fn inodes_on(table: &str, port: u16, udp: bool) -> Vec<u64> {
    let of_row = |row: &str| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let taken = u16::from_str_radix(local, 16).ok()? == port;
        let holds = udp || *fields.get(3)? == TCP_LISTENING;
        if taken && holds { fields.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_taken_port_is_reported_with_who_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let check = one("mqtt", taken.local_addr().unwrap());
        assert_eq!(check.state, State::Fix);
        assert!(check.found.contains(&format!("(pid {})", std::process::id())), "{}", check.found);
    }

    #[test]
    fn a_closed_listener_is_not_looked_at() {
        let off = crate::config::ListenAddr::Off;
        let listen = Listen {
            mqtt: off,
            mqtts: off,
            http: off,
            https: off,
            quic: off,
            peer: None,
            admin: off,
            wamp: off,
            wamps: off,
            hyper: off,
        };
        assert_eq!(all(&listen), []);
    }

    #[test]
    fn only_listening_sockets_hold_a_tcp_port() {
        let table = "head\n\
             0: 0100007F:075B 00000000:0000 0A 0:0 0:0 0 0 0 41 1\n\
             1: 0100007F:075B 0100007F:C000 01 0:0 0:0 0 0 0 42 1\n\
             2: 0100007F:075C 00000000:0000 0A 0:0 0:0 0 0 0 43 1\n";
        assert_eq!(inodes_on(table, 1883, false), [41]);
    }
}
