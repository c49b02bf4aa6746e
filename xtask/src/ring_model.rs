//! `cargo xtask loom`: the ring's wake protocol under every interleaving that the memory model
//! allows. Built apart, because the flag that turns the model on rebuilds everything. It is not `loom`,
//! by which other crates would change too.

use crate::{Failed, run};

pub(crate) fn check() -> Result<(), Failed> {
    run(
        "env",
        &[
            "RUSTFLAGS=--cfg ring_model",
            "CARGO_TARGET_DIR=target/loom",
            "cargo",
            "test",
            "--release",
            "--package",
            "libipc",
            "--lib",
            "ring::model",
        ],
    )
}
