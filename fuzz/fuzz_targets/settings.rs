//! A transport daemon's file: valid, or with a problem at its place.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tcpd/src/config.rs"]
mod config;

fuzz_target!(|text: &str| {
    match config::Config::parse("tcpd.toml", text) {
        Ok(config) => assert!(config.listen.iter().all(|one| !one.name.is_empty())),
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|one| one.to_string().starts_with("tcpd.toml:")));
        }
    }
});
