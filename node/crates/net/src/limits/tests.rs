//! What the limits promise, without a socket.

use std::time::Duration;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn limits(config: config::Limits) -> Arc<Limits> {
    let trusted = Trusted::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    Arc::new(Limits::new(&config, trusted))
}

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn is_evicted(eviction: &mut Eviction) -> bool {
    Pin::new(eviction).poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
}

#[test]
fn a_connection_too_many_is_refused_until_another_ends() {
    let limits = limits(config::Limits { connections_max: 2, ..config::Limits::default() });
    let first = limits.admit(HERE).expect("room").let_in();
    let second = limits.admit(HERE).expect("room");
    assert_eq!(limits.admit(HERE).err(), Some(Refused::Connections));
    assert_eq!((limits.connections(), limits.half_open()), (2, 1));
    drop(first);
    let third = limits.admit(HERE).expect("room again");
    drop((second, third));
    assert_eq!((limits.connections(), limits.half_open()), (0, 0));
}

#[test]
fn the_oldest_half_open_connection_makes_room_for_the_newest() {
    let limits = limits(config::Limits { half_open_max: 2, ..config::Limits::default() });
    let mut waiting = [(); 2].map(|()| limits.admit(HERE).expect("room"));
    let mut evictions = waiting.each_mut().map(HalfOpen::eviction);
    let third = limits.admit(HERE).expect("room is made");
    assert_eq!(evictions.each_mut().map(is_evicted), [true, false]);
    assert_eq!((limits.connections(), limits.half_open()), (3, 2));
    drop(waiting);
    assert_eq!((limits.connections(), limits.half_open()), (1, 1));
    drop(third);
}

#[test]
fn who_is_let_in_is_never_evicted() {
    let limits = limits(config::Limits { half_open_max: 1, ..config::Limits::default() });
    let mut first = limits.admit(HERE).expect("room");
    let mut eviction = first.eviction();
    let _permit = first.let_in();
    let _second = limits.admit(HERE).expect("room");
    assert!(!is_evicted(&mut eviction));
}

#[test]
fn one_address_cannot_take_the_room_of_others() {
    let config = config::Limits {
        connections_per_address_max: 2,
        half_open_per_address_max: 1,
        ..config::Limits::default()
    };
    let limits = limits(config);
    let first = limits.admit(address(1)).expect("room");
    assert_eq!(limits.admit(address(1)).err(), Some(Refused::HalfOpenAddress));
    let first = first.let_in();
    let second = limits.admit(address(1)).expect("room").let_in();
    assert_eq!(limits.admit(address(1)).err(), Some(Refused::Address));
    let _other = limits.admit(address(2)).expect("room for others");
    drop((first, second));
    limits.admit(address(1)).expect("room again");
}

#[test]
fn an_evicted_connection_does_not_count_for_its_address() {
    let config =
        config::Limits { half_open_max: 1, half_open_per_address_max: 1, ..config::Limits::default() };
    let limits = limits(config);
    let first = limits.admit(address(1)).expect("room");
    let second = limits.admit(address(2)).expect("room is made");
    let third = limits.admit(address(1)).expect("its first half-open one was evicted");
    drop((first, second, third));
    assert_eq!((limits.connections(), limits.half_open()), (0, 0));
}

#[test]
fn connections_that_come_too_fast_are_refused_until_time_has_passed() {
    let config = config::Limits {
        connects_per_second: 3,
        connects_per_second_per_address: 2,
        ..config::Limits::default()
    };
    let (limits, start) = (limits(config), Instant::now());
    let at = |last, now| limits.admit_at(address(last), now).err();
    assert_eq!(at(1, start), None);
    assert_eq!(at(1, start), None);
    assert_eq!(at(1, start), Some(Refused::RateAddress));
    assert_eq!(at(2, start), Some(Refused::Rate));
    assert_eq!(at(2, start + Duration::from_secs(1)), None);
    assert_eq!(limits.connections(), 0, "refused ones do not count");
}

#[test]
fn a_trusted_proxy_is_not_limited_but_who_comes_through_it_is() {
    let limits = limits(config::Limits { connections_per_address_max: 1, ..config::Limits::default() });
    let proxy: IpAddr = [10, 1, 2, 3].into();
    let mut through = [(); 3].map(|()| limits.admit(proxy).expect("a proxy is not limited"));
    through[0].belongs_to(address(1)).expect("its first");
    assert_eq!(through[1].belongs_to(address(1)), Err(Refused::Address));
    through[2].belongs_to(address(2)).expect("another's first");
}

#[tokio::test]
async fn who_accepts_hears_of_a_pause_and_of_its_end() {
    let limits = limits(config::Limits::default());
    let heard = async {
        limits.paused().await;
        assert!(limits.is_paused());
        limits.pause(false);
        limits.resumed().await;
    };
    let told = async { limits.pause(true) };
    tokio::join!(heard, told);
    assert!(!limits.is_paused());
}

#[test]
fn without_a_limit_connections_are_bounded_by_the_open_files() {
    let limits = limits(config::Limits::default());
    let most = getrlimit(Resource::Nofile).current.expect("a limit");
    assert!((limits.connections_max() as u64) < most);
}

#[test]
fn what_a_connection_carries_for_its_limits_is_small() {
    assert!(size_of::<Permit>() <= 24, "{}", size_of::<Permit>());
}
