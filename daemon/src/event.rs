//! The catalogue of events: what a daemon writes into its log, each with a number of its own.
//!
//! `docs/events.md` tells what each means and what to do; a test compares it with this table, and
//! this table with the sources. The numbers are `MESSAGE_ID`s of the journal
//! (systemd.journal-fields(7)); they were drawn at random, and never change.

/// An event that a daemon logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// Its name, which is the field `event` of every line.
    pub name: &'static str,
    /// Its number, in hexadecimal.
    pub id: &'static str,
    /// Whether it is about what became of a request: then its name is the verdict.
    pub is_decision: bool,
}

/// All events.
pub const EVENTS: &[Event] = &[
    decision("allowed", "01a172763cca524c1c2047140dfb9857"),
    decision("permissive", "bb8ca4eb6d74e00d2bc1d4aca35e3a2c"),
    decision("denied", "2d9554c876c66234aec5eca49743bd60"),
    decision("failed", "8e5d96761f0dc19b1833921bb243a124"),
    decision("busy", "44a524fa937e790888e77e0274ae7ac8"),
    event("left-out", "80e55de4b2a259d9b47cf460c383d377"),
    event("log-lost", "7c90a2a08f6098f2092ce90299c9da8a"),
    event("started", "f16aff1d7227eec25839694c96f673d4"),
    event("stopped", "896999cb8f918ce4edb3a581b93ae90f"),
    event("draining", "731e5f5ab6fb83e5a25ff901b7eee668"),
    event("generation", "9d398d0407a34e29867533822d86f1b1"),
    event("generation-finishes", "d9dc2250a1894648926d3008e408721c"),
    event("generation-hangs", "0b8d8bc30f15a0dc17752c9a0ac2856d"),
    event("generation-over", "b7e43d7b6f77482d806b4e3df868f1f8"),
    event("cut", "f21358a9ddec44428564c2ab15887e0e"),
    event("child-started", "a13977183d43bf5910d3a9a078fc432f"),
    event("child-ended", "9fe6eb21da27de43fee2a5ca63ad5ab5"),
    event("reloaded", "f1ea91a7324e73a266846feacb5fd44d"),
    event("reload-refused", "dfccf6c0f0b63574f750186c42e807a1"),
    event("not-reloaded", "fe4d6b00fcc8d6d8ed2ece8c1d6fac5e"),
    event("configuration", "1b334049386a2a0625c77d56ad7531ca"),
    event("killed", "b6db9e8ed84e0bfdae78bc9fb66d59a5"),
    event("registered", "3372e727f7d876095be89ef2ca2fb8ed"),
    event("registration-ended", "6019f4d788d51fe3c7d871a711d502cc"),
    event("restored", "3e240955e80245c6a1f72cf7dcfa3381"),
    event("not-restored", "bd3fe59887d6477d83d1f6c9dad40abb"),
    event("service-stuck", "57efd1d51232e338725683dfb1908baf"),
    event("listening", "18262d62706cb08d89ec542d9af033dd"),
    event("broken-off", "b1d103e3f427d9c4fec8b56c6190ba62"),
    event("turned-away", "bd5ecbdd0f4f9453ec592dc0c7b38189"),
    event("turned-away-more", "0497c8559ffa369b69b5f75b8c50e7b2"),
    event("running-as-root", "25099c430569ab6c3bf0786d84ee6091"),
    event("few-descriptors", "a3ec7a563abd651b4c3894ebf271e3d6"),
    event("no-front", "2613da448c2346e891a7ee55fb04c1a5"),
    event("accounts-found", "460bf2f0044c4640b5ec5b109e910e40"),
    event("sandbox-incomplete", "1d6bf84f0b092fbfeb3b2c70167b78ef"),
    event("not-a-listener", "e98144d90aa16c89d32458d1fef0ac3f"),
    event("no-service-manager", "f2f35eadd0cafe0f7cfac66f80de1b6b"),
    event("service-manager-not-told", "a5d706ee3a0b842d66215496cab21c11"),
    event("login-accepted", "7ba8cf4dd8d000b59121e1c12ab1e977"),
    event("login-rejected", "91d1995464b778e1269a93a793cd426a"),
    event("login-held-back", "e74ea4fed4062e0f62ff8f572a7db1e0"),
    event("login-busy", "be0e7a0ef63b1acc0d4fd896e1da7583"),
    event("logins-left-out", "054ba4cdf194cebbb5857eff2f016a30"),
    event("client-refused", "745d86b61385b3989fd71b11bf001b45"),
    event("client-error", "fb536356553e9fea1abcaa8b7087aac8"),
    event("client-too-slow", "8d3fddac144aea3878d53ff6d77bb391"),
];

const fn decision(name: &'static str, id: &'static str) -> Event {
    Event { name, id, is_decision: true }
}

const fn event(name: &'static str, id: &'static str) -> Event {
    Event { name, id, is_decision: false }
}

/// The event of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Event> {
    EVENTS.iter().find(|event| event.name == name)
}
