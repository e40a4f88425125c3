//! The address peers are told: the configured one, or where packets to the outside come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::StartError;
use crate::config::Config;
use crate::join::Resolve;

/// Nobody has this address (RFC 5737); the way to it is the way to the outside. Nothing is sent there.
const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// What peers reach this node at, listening at `bound`.
pub(super) async fn address(
    config: &Config,
    bound: SocketAddr,
    resolver: &dyn Resolve,
) -> Result<SocketAddr, StartError> {
    if let Some(given) = &config.advertise {
        let failed = |problem: String| StartError::Advertise { given: given.clone(), problem };
        let found = resolver.resolve(given).await.map_err(|error| failed(error.to_string()))?;
        let fits = found.iter().find(|address| address.is_ipv4() == bound.is_ipv4());
        return fits.or(found.first()).copied().ok_or_else(|| failed("it has no address".to_owned()));
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound);
    }
    for name in &config.join {
        for peer in resolver.resolve(name).await.unwrap_or_default() {
            if let Some(ip) = towards(peer).await {
                return Ok(SocketAddr::new(ip, bound.port()));
            }
        }
    }
    let ip = towards(OUTSIDE).await.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(SocketAddr::new(ip, bound.port()))
}

/// The address of this machine that packets to `peer` would come from.
async fn towards(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(peer).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}
