//! `IPC_NETWORK`: the entries of a name are those of the whole, and nothing of other names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libipc::network::{entries_for, parse};

fuzz_target!(|text: &str| {
    let Ok(entries) = parse(text) else { return };
    for entry in &entries {
        let own = entries_for(&entry.name, text).expect("it was read").expect("it has entries");
        let again = parse(own.expose()).expect("what was written can be read");
        let expected = entries.iter().filter(|other| other.name == entry.name);
        assert!(again.iter().eq(expected));
    }
});
