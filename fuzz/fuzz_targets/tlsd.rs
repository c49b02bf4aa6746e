//! `tlsd.toml`: valid, and then what it refers to is in it; or with a problem at its place.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the daemon uses all of it")]
#[path = "../../tlsd/src"]
mod tlsd {
    pub(crate) mod config;
    pub(crate) mod pin;
}

use tlsd::config::{Config, SYSTEM};
use tlsd::pin;

fuzz_target!(|text: &str| {
    let config = match Config::parse("tlsd.toml", text) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|one| one.to_string().starts_with("tlsd.toml:")));
            return;
        }
    };
    let believed = config.trusts.values();
    assert!(believed.clone().all(|one| one.authorities.is_some() || !one.pins.is_empty()));
    for listen in config.listen.values() {
        assert!(config.certificates.contains_key(&listen.certificate));
        assert!(listen.clients.iter().all(|name| config.trusts.contains_key(name)));
        assert!(listen.keys.iter().all(|name| config.keys.contains_key(name)));
    }
    let dial = &config.dial;
    assert!(dial.certificate.iter().all(|name| config.certificates.contains_key(name)));
    assert!(dial.trust.iter().all(|name| name == SYSTEM || config.trusts.contains_key(name)));
    for pin in config.trusts.values().flat_map(|one| &one.pins) {
        assert_eq!(pin::Pin::parse(&pin.to_string()), Ok(*pin));
    }
});
