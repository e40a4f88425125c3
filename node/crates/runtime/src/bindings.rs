//! The contract with handlers as Rust types, made from `handlers-sdk/wit`.

/// World `command`; also the home of the interfaces that the other worlds share.
pub mod command {
    wasmtime::component::bindgen!({
        path: "../../../handlers-sdk/wit/weir-handler.wit",
        world: "weir:handler/command",
        imports: { "weir:handler/kv.get": async, "weir:handler/random.bytes": trappable },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// World `merging-reducer`, which has all that `reducer` has.
pub mod merging {
    wasmtime::component::bindgen!({
        path: "../../../handlers-sdk/wit/weir-handler.wit",
        world: "weir:handler/merging-reducer",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "weir:handler/types": super::command::weir::handler::types,
            "weir:handler/log": super::command::weir::handler::log,
            "weir:handler/config": super::command::weir::handler::config,
            "weir:handler/clock": super::command::weir::handler::clock,
            "weir:handler/random": super::command::weir::handler::random,
        },
    });
}

/// World `reducer`.
pub mod reducer {
    wasmtime::component::bindgen!({
        path: "../../../handlers-sdk/wit/weir-handler.wit",
        world: "weir:handler/reducer",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "weir:handler/types": super::command::weir::handler::types,
            "weir:handler/reduction": super::merging::weir::handler::reduction,
            "weir:handler/log": super::command::weir::handler::log,
            "weir:handler/config": super::command::weir::handler::config,
            "weir:handler/clock": super::command::weir::handler::clock,
            "weir:handler/random": super::command::weir::handler::random,
        },
    });
}

/// World `middleware`, called in the path of a connection: without a fiber.
pub mod middleware {
    wasmtime::component::bindgen!({
        path: "../../../handlers-sdk/wit/weir-handler.wit",
        world: "weir:handler/middleware",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "weir:handler/log": super::command::weir::handler::log,
            "weir:handler/config": super::command::weir::handler::config,
            "weir:handler/clock": super::command::weir::handler::clock,
            "weir:handler/random": super::command::weir::handler::random,
        },
    });
}

/// World `middleware` once more, for guests whose WASI imports need a fiber.
pub mod middleware_wasi {
    wasmtime::component::bindgen!({
        path: "../../../handlers-sdk/wit/weir-handler.wit",
        world: "weir:handler/middleware",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "weir:handler/hooks": super::middleware::weir::handler::hooks,
            "weir:handler/log": super::command::weir::handler::log,
            "weir:handler/config": super::command::weir::handler::config,
            "weir:handler/clock": super::command::weir::handler::clock,
            "weir:handler/random": super::command::weir::handler::random,
        },
    });
}
