//! Rules: what was read means the same when it is read again by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::accounts::NoAccounts;
use policy::rule::{Reading, parse_rules};
use policy::scheme::Schemes;
use settings::Text;

fuzz_target!(|text: &str| {
    let schemes = Schemes::default();
    let reading = Reading { schemes: &schemes, accounts: &NoAccounts, command_line: None };
    let mut problems = Vec::new();
    let rules = parse_rules(&Text::plain("rules", text), reading, &mut problems);
    assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
    for rule in rules {
        let again = Text::plain("rules", rule.text.as_str());
        let mut problems = Vec::new();
        let again = parse_rules(&again, reading, &mut problems);
        assert_eq!((again.len(), problems.len()), (1, 0), "{}", rule.text.as_str());
    }
});
