//! authd's file of users: valid, and then every line that is written anew is read as it was; or with
//! problems at their lines, which repeat nothing of the text.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the daemon uses all of it")]
#[path = "../../authd/src"]
mod authd {
    pub(crate) mod hash;
    pub(crate) mod passwords;
}

use authd::hash;
use authd::passwords::{Passwords, USERS_MOST, is_name, line, with_line};

/// A user whom no text has but by chance.
const USER: &str = "fuzzer.of.passwords";

/// What stands in no message of ours.
const CANARY: &str = "CANARYQ";

fuzz_target!(|text: &str| {
    // What was meant to be a secret may stand anywhere in a line.
    let marked: String = text.lines().map(|line| format!("{line}{CANARY}\n")).collect();
    for error in Passwords::parse(&marked).err().unwrap_or_default() {
        assert!(!error.to_string().contains(CANARY), "{error}");
    }
    let passwords = match Passwords::parse(text) {
        Ok(passwords) => passwords,
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|one| one.to_string().starts_with("line ")));
            return;
        }
    };
    assert!(passwords.len() <= USERS_MOST);
    assert_eq!(passwords.typical().is_some(), passwords.len() > 0);
    let mut written = String::new();
    for (user, groups) in passwords.all() {
        assert!(is_name(user) && groups.iter().all(|group| is_name(group)));
        let entry = passwords.get(user).unwrap();
        // Nobody waits for a hash that costs more than the limits say.
        hash::Hash::parse(&entry.hash.to_string()).unwrap();
        written = with_line(&written, user, Some(&line(user, &entry.hash, groups)));
    }
    let again = Passwords::parse(&written).unwrap();
    assert_eq!(again.all(), passwords.all());
    if passwords.get(USER).is_some() {
        return;
    }
    // One that comes and goes leaves the others as they were.
    let Some(hash) = passwords.typical() else { return };
    let more = with_line(text, USER, Some(&line(USER, hash, &[])));
    assert_eq!(Passwords::parse(&more).unwrap().len(), passwords.len() + 1);
    let less = with_line(&more, USER, None);
    assert_eq!(Passwords::parse(&less).unwrap().all(), passwords.all());
});
