//! Which settings prove which level.

use super::*;

fn durable() -> Facts {
    Facts {
        version: (7, 0),
        is_primary: true,
        appendonly: true,
        appendfsync: "everysec".to_owned(),
        maxmemory_policy: "noeviction".to_owned(),
        ..Facts::default()
    }
}

fn replicas(count: u32) -> Level {
    Level::Replicated(NonZeroU32::new(count).unwrap())
}

#[test]
fn without_a_choice_the_strongest_that_every_primary_proves_is_taken() {
    let everysec = durable();
    let always = Facts { appendfsync: "always".to_owned(), ..durable() };
    let demanding = Facts { replicas_demanded: 1, replicas_online: 2, ..durable() };
    let auto = |primaries: &[&Facts]| {
        let primaries: Vec<Facts> = primaries.iter().copied().cloned().collect();
        choose(LevelChoice::Auto, &primaries)
    };
    assert_eq!(auto(&[&everysec]), Ok(Level::Stored));
    assert_eq!(auto(&[&always]), Ok(Level::Fsynced));
    assert_eq!(auto(&[&always, &everysec]), Ok(Level::Stored));
    assert_eq!(auto(&[&demanding]), Ok(replicas(1)));
    assert_eq!(auto(&[&demanding, &everysec]), Ok(Level::Stored));
}

#[test]
fn replicas_that_nobody_demands_prove_nothing_by_themselves() {
    let connected = Facts { replicas_online: 2, ..durable() };
    assert_eq!(choose(LevelChoice::Auto, &[connected]), Ok(Level::Stored));
}

#[test]
fn a_level_that_cannot_be_proved_is_refused_with_the_name_of_the_setting() {
    let refusal = |level: Level, facts: Facts| choose(level.into(), &[facts]).unwrap_err().to_string();
    let evicting = Facts { maxmemory_policy: "allkeys-lru".to_owned(), ..durable() };
    assert!(refusal(Level::Stored, evicting).contains("`maxmemory-policy` is `allkeys-lru`"));
    assert!(refusal(Level::Fsynced, durable()).contains("`appendfsync` is `everysec`"));
    let unlogged = Facts { appendonly: false, replicas_online: 1, ..durable() };
    assert!(refusal(replicas(1), unlogged).contains("`appendonly` is `no`"));
    assert!(refusal(replicas(1), durable()).contains("0 replicas are connected: `replicated:1` needs 1"));
    let one_away = Facts { replicas_online: 1, replicas_known: 2, ..durable() };
    assert!(refusal(Level::ReplicatedAll, one_away).contains("`replicated:all` needs 2"));
}

#[test]
fn all_replicas_means_each_that_is_connected_and_each_that_is_known() {
    let facts = Facts { replicas_online: 3, replicas_known: 2, ..durable() };
    assert_eq!(facts.proves(Level::ReplicatedAll), Ok(Confirm::Replicas(NonZeroU32::new(3).unwrap())));
}

#[test]
fn from_7_2_on_the_append_only_file_can_be_waited_for() {
    let newer = Facts { version: (7, 2), ..durable() };
    assert_eq!(newer.proves(Level::Fsynced), Ok(Confirm::Synced));
    let wait = Confirm::Synced.wait(Duration::from_millis(500)).unwrap();
    assert!(wait.enough(&Value::Array(vec![Value::Int(1), Value::Int(0)])));
    assert!(!wait.enough(&Value::Array(vec![Value::Int(0), Value::Int(0)])));
}

#[test]
fn a_count_below_the_level_is_not_enough() {
    let wait = Confirm::Replicas(NonZeroU32::new(2).unwrap()).wait(Duration::from_millis(500)).unwrap();
    assert!(!wait.enough(&Value::Int(1)));
    assert!(wait.enough(&Value::Int(2)));
    assert!(Confirm::Answer.wait(Duration::from_millis(500)).is_none());
}

#[test]
fn memory_is_high_above_its_share_of_the_limit_only() {
    let facts = Facts { maxmemory: 1000, used_memory: 851, ..durable() };
    assert!(facts.is_above(85) && !facts.is_above(86) && !facts.is_above(0));
    assert!(!Facts { used_memory: u64::MAX, ..durable() }.is_above(85));
}

#[test]
fn facts_are_read_from_what_servers_say() {
    let info = "redis_version:7.0.15\r\nrun_id:abc\r\nrole:master\r\naof_enabled:1\r\nused_memory:10\r\n\
                maxmemory:0\r\nmaxmemory_policy:noeviction\r\nslave0:ip=1,port=2,state=online,lag=0\r\n\
                slave1:ip=1,port=3,state=wait_bgsave,lag=0\r\n";
    let words = "appendfsync always min-replicas-to-write 1 min-replicas-max-lag 10";
    let settings: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let facts = Facts::read(info, &settings);
    assert_eq!((facts.version, facts.is_primary, facts.replicas_online), ((7, 0), true, 1));
    assert!(facts.syncs_always() && facts.replicas_demanded == 1);
}
