//! Whole links without IO: seeded runs of two and three nodes over pipes in memory that delay, cut and
//! now and then lose what QUIC would not. `WEIR_SIM_SEED` runs one seed, `WEIR_SIM_RUNS` so many.

mod ends;
mod world;

use world::World;

const RUNS: u64 = 30;
const STEPS: usize = 2000;

/// Tells the seed when its run fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with WEIR_SIM_SEED={}", self.0);
        }
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    match from_env("WEIR_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_env("WEIR_SIM_RUNS").unwrap_or(RUNS),
    }
}

#[test]
fn whatever_the_network_does_interest_converges_and_what_must_arrive_arrives_once_in_order() {
    for seed in seeds() {
        let _told = Seed(seed);
        let mut world = World::new(seed, 2 + (seed % 2) as usize);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.check();
    }
}
