//! WASI with nothing behind it: no files, no network, no environment, and the contract's own clock and random.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand_core::TryRng;
use ring::rand::{SecureRandom, SystemRandom};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use weir_model::UnixMillis;

use super::Guest;
use super::imports::seeded;

/// An empty WASI context.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    served: Shared,
}

/// What the context's clock and random know of the call that is served.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    now: UnixMillis,
    seed: Option<(u64, u64)>,
    drawn: u64,
}

/// Keeps what a guest draws through WASI apart from what it draws through the contract.
const DRAWN_BY_WASI: u64 = 1 << 63;

impl Wasi {
    pub fn new() -> Wasi {
        let served = Shared::default();
        let context = WasiCtxBuilder::new()
            .wall_clock(served.clone())
            .secure_random(served.clone())
            .insecure_random(served.clone())
            .insecure_random_seed(0)
            .build();
        Wasi { context, table: ResourceTable::new(), served }
    }

    pub fn begin(&self, now: UnixMillis, seed: Option<(u64, u64)>) {
        *self.served.0.lock() = Known { now, seed, drawn: DRAWN_BY_WASI };
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new()));
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

impl HostWallClock for Shared {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.lock().now.0)
    }
}

impl TryRng for Shared {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let mut known = self.0.lock();
        match known.seed {
            Some(seed) => known.drawn = seeded(seed, known.drawn, out),
            // The kernel's random does not fail once the machine is up.
            None => SystemRandom::new().fill(out).expect("the kernel gives random bytes"),
        }
        Ok(())
    }
}
