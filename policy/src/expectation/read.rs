//! A `[[test]]` as it is written.

use std::net::IpAddr;

use libipc::interface::broker::Subject;
use libipc::name::ServiceName;
use settings::{Section, Text};

use super::{Expectation, Expected, Who};

/// Addresses that a name has in one test, at most.
const RESOLVES_MOST: usize = 64;

impl Expectation {
    /// Reads the table of one test; `None` if it has a problem, which is noted then.
    pub(crate) fn read(mut section: Section<'_>) -> Option<Self> {
        let subject = section.section("as").map(read_subject);
        let peer = section.text("from");
        let asked = section.required("ask").and_then(|value| value.text());
        let network = section.text("network");
        let resolves = read_addresses(&mut section);
        let text = section.required("expect").and_then(|value| value.text());
        let rule = section.text("rule");
        let who = match (subject, peer) {
            (Some(subject), None) => Who::Program(subject?),
            (None, Some(peer)) => Who::Peer(peer),
            (None, None) | (Some(_), Some(_)) => {
                section.problem(
                    "a test has either `as`, a program of this host, or `from`, a peer on another",
                );
                return None;
            }
        };
        let (asked, text, resolves) = (asked?, text?, resolves?);
        if matches!(who, Who::Peer(_)) && (network.is_some() || !resolves.is_empty()) {
            section.problem(
                "`network` and `resolves` are about programs of this host: a peer on another has \
                 no IPC_NETWORK here, and asks for services of this host alone",
            );
            return None;
        }
        let network = network.map(|text| text.as_str().to_owned());
        let Ok(name) =
            ServiceName::new(asked.as_str()).map_err(|error| section.report(asked.problem(error)))
        else {
            return None;
        };
        let Some(expected) = Expected::parse(text.as_str()) else {
            section.report(text.problem(
                "a test expects \"allow\", \"permissive\", each with or without a target behind \
                 it, or \"deny\"",
            ));
            return None;
        };
        Some(Self { who, asked: name, network, resolves, expected, text, rule })
    }
}

fn read_subject(mut section: Section<'_>) -> Option<Subject> {
    let owned = |text: Text| text.as_str().to_owned();
    let user = section.text("user").map(owned);
    let groups = section.value("groups").map(|value| value.texts());
    let unit = section.text("unit").map(owned);
    let user_unit = section.text("user-unit").map(owned);
    let socket = section.text("socket").map(owned);
    let login = section.text("login").map(owned);
    let groups = match groups {
        None => None,
        Some(texts) => Some(texts?.into_iter().map(owned).collect()),
    };
    Some(Subject { user, groups, unit, user_unit, socket, login })
}

fn read_addresses(section: &mut Section<'_>) -> Option<Vec<IpAddr>> {
    let texts = section.texts("resolves");
    if texts.len() > RESOLVES_MOST {
        section.problem(format_args!("a name has at most {RESOLVES_MOST} addresses in a test"));
        return None;
    }
    let mut addresses = Vec::new();
    for text in texts {
        let Ok(address) = text.as_str().trim_matches(['[', ']']).parse() else {
            let message = "a name resolves to addresses: 192.0.2.1 or 2001:db8::1";
            section.report(text.problem(message));
            return None;
        };
        addresses.push(address);
    }
    Some(addresses)
}

impl Expected {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (word, target) = (words.next()?, words.next().map(ToOwned::to_owned));
        match (word, target, words.next()) {
            ("allow", target, None) => Some(Self::Pass(target)),
            ("permissive", target, None) => Some(Self::Permissive(target)),
            ("deny", None, None) => Some(Self::Deny),
            _ => None,
        }
    }
}
