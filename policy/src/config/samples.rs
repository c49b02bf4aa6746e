//! The files of `config/`, as they are delivered.

use libipc::rundir::RunDirectory;

use super::limits::Limits;
use crate::check::check;
use crate::config::Config;
use crate::fixture::{Host, main_only};

const IPCD: &str = include_str!("../../../config/ipcd.toml");

const EXAMPLES: [(&str, &str); 3] = [
    ("00-ceiling.toml", include_str!("../../../config/examples/00-ceiling.toml")),
    ("service-host.toml", include_str!("../../../config/examples/service-host.toml")),
    ("web-host.toml", include_str!("../../../config/examples/web-host.toml")),
];

/// Switches every setting of `text` on that is switched off.
fn switched_on(text: &str) -> String {
    let setting =
        |line: &&str| line.starts_with(|first: char| first.is_lowercase() || first == '[');
    let lines: Vec<_> =
        text.lines().map(|line| line.strip_prefix('#').filter(setting).unwrap_or(line)).collect();
    lines.join("\n")
}

#[test]
fn the_file_as_it_is_delivered_is_the_defaults() {
    let report = check(&main_only(IPCD), &Host, &[]);
    assert!(report.passes(true), "{report}");
    let config = Config::load(&main_only(IPCD), &Host).unwrap().config;
    assert!(config.rules.is_empty() && config.redirects.all().is_empty());
    assert!(config.services.is_empty() && config.admin_gids.is_empty());
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn every_setting_of_the_file_can_be_switched_on() {
    let text = switched_on(IPCD);
    let config = Config::load(&main_only(&text), &Host)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>());
    let config = config.unwrap().config;
    assert_eq!(config.limits, Limits::default(), "the values that it shows are the defaults");
    assert_eq!(config.redirects.all().len(), 3);
    assert_eq!(config.services.len(), 2);
    assert!(config.schemes().stack("tor").is_some());
    for key in super::limits::keys() {
        assert!(text.contains(&format!("\n{key} = ")), "{key} is missing");
    }
}

#[test]
fn every_rule_that_the_file_shows_is_one() {
    let shown =
        IPCD.split("'''").nth(1).unwrap().replace("# allow", "allow").replace("# deny", "deny");
    let text = format!("rules = '''{shown}'''");
    assert_eq!(Config::load(&main_only(&text), &Host).unwrap().config.rules.len(), 5);
}

#[test]
fn every_example_is_valid_and_free_of_lint() {
    for (name, text) in EXAMPLES {
        let report = check(&main_only(text), &Host, &[RunDirectory::system().fronts()]);
        assert!(report.passes(false), "{name}: {report}");
    }
}
