//! What the tests of this crate begin with.

use libipc::identity::{LocalIdentity, RemoteIdentity};
use libipc::name::ServiceName;
use settings::{File, Problem, Text};

use crate::accounts::Accounts;
use crate::config::{CommandLine, Config, Loaded, Sources};
use crate::rule::{Reading, Rule, parse_rules};
use crate::rules::Rules;
use crate::scheme::Schemes;
use crate::target::{Author, RemoteTarget, Target};

/// A host with a few accounts.
pub(crate) struct Host;

impl Accounts for Host {
    fn uid(&self, name: &str) -> Option<u32> {
        match name {
            "root" => Some(0),
            "shop" => Some(998),
            "alice" => Some(1000),
            _ => None,
        }
    }

    fn gid(&self, name: &str) -> Option<u32> {
        match name {
            "www" => Some(33),
            "users" => Some(100),
            _ => None,
        }
    }
}

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

pub(crate) fn target(text: &str) -> Target {
    Target::parse(text, Author::Administrator, &Schemes::default()).unwrap()
}

pub(crate) fn remote(text: &str) -> RemoteTarget {
    target(text).remote().unwrap().clone()
}

pub(crate) fn user(uid: u32) -> LocalIdentity {
    LocalIdentity {
        pid: Some(4711),
        uid: Some(uid),
        gid: Some(uid),
        groups: Some(Vec::new()),
        ..LocalIdentity::default()
    }
}

pub(crate) fn peer(scheme: &str, address: &str, names: &[&str]) -> RemoteIdentity {
    RemoteIdentity {
        scheme: scheme.to_owned(),
        address: address.parse().unwrap(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(crate) fn read_rules(text: &str, schemes: &Schemes) -> Result<Vec<Rule>, Vec<Problem>> {
    let mut problems = Vec::new();
    let reading = Reading { schemes, accounts: &Host, command_line: None };
    let rules = parse_rules(&Text::plain("rules", text), reading, &mut problems);
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

pub(crate) fn rules(text: &str) -> Rules {
    let schemes = Schemes::default();
    Rules::new(read_rules(text, &schemes).unwrap(), schemes)
}

pub(crate) fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), text: text.to_owned() }
}

pub(crate) fn main_only(text: &str) -> Sources {
    Sources { main: Some(file("ipcd.toml", text)), ..Sources::default() }
}

pub(crate) fn load(text: &str) -> Result<Loaded, Vec<String>> {
    load_all(&main_only(text))
}

pub(crate) fn load_all(sources: &Sources) -> Result<Loaded, Vec<String>> {
    Config::load(sources, &Host)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

pub(crate) fn config(text: &str) -> Config {
    load(text).unwrap().config
}

pub(crate) fn rule_argument(text: &str) -> CommandLine {
    CommandLine::Rule(text.to_owned())
}
