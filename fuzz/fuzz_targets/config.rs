//! Configurations, and decisions by those that are valid: explaining one does not change it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libipc::ServiceName;
use libipc::identity::LocalIdentity;
use policy::accounts::NoAccounts;
use policy::config::{CommandLine, Config, Sources};
use policy::decide::{Request, decide, explain};
use policy::route::Asker;
use settings::File;

/// What stands between the file, a rule, the wishes and who asks.
const BETWEEN: &str = "\n---\n";

fuzz_target!(|input: &str| {
    let mut parts = input.split(BETWEEN);
    let toml = parts.next().unwrap_or_default();
    let rule = parts.next().unwrap_or("deny out * *");
    let network = parts.next().unwrap_or("x");
    let uid = parts.next().and_then(|uid| uid.parse().ok());
    let main = File { name: "ipcd.toml".to_owned(), text: toml.to_owned() };
    let command_line = vec![CommandLine::Rule(rule.to_owned())];
    let sources = Sources { command_line, drop_ins: Vec::new(), main: Some(main) };
    let loaded = match Config::load(&sources, &NoAccounts) {
        Ok(loaded) => loaded,
        Err(problems) => return assert!(!problems.is_empty()),
    };
    let asker = LocalIdentity { uid, ..LocalIdentity::default() };
    let asked = network.split_whitespace().next().and_then(|name| ServiceName::new(name).ok());
    let Some(asked) = asked else { return };
    let request = Request {
        asked: &asked,
        network: Some(network),
        asker: Asker::Local(&asker),
        service_owner: &|_| Some(1),
    };
    let decided = decide(&loaded.config, &request);
    match explain(&loaded.config, &request) {
        Err(error) => assert_eq!(decided, Err(error)),
        Ok(explained) => {
            let explained = explained.candidates.into_iter().map(|one| one.candidate);
            assert!(decided.expect("as it was explained").candidates.into_iter().eq(explained));
        }
    }
});
