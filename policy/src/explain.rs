//! Why a rule did or did not decide, in sentences.

use std::sync::Arc;

use libipc::identity::LocalIdentity;

use crate::described::UNNAMED;
use crate::evaluate::Outcome;
use crate::query::Query;
use crate::rule::{Action, Rule, RuleText};

/// A rule that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Considered {
    /// The rule.
    pub rule: Arc<RuleText>,
    /// Whether it decided.
    pub matched: bool,
    /// Why it did or did not match, as a sentence.
    pub note: String,
}

impl Considered {
    pub(crate) fn new(rule: &Rule, outcome: Outcome, query: &Query<'_>) -> Self {
        Self {
            rule: Arc::clone(&rule.text),
            matched: outcome == Outcome::Decides,
            note: note(rule, outcome, query),
        }
    }
}

fn note(rule: &Rule, outcome: Outcome, query: &Query<'_>) -> String {
    let asked = Asked::of(query);
    match outcome {
        Outcome::OtherService => format!("it is not about the service {}", query.service()),
        Outcome::OtherSubject => format!("it is about {}, not {}", rule.subjects, asked.asker),
        Outcome::UnknownSubject => {
            format!("it is about {}, and whether that asks is not known", rule.subjects)
        }
        Outcome::OtherScheme => format!("it is not about {}", asked.scheme),
        Outcome::OtherPlace => format!("it is not about {}", asked.place),
        Outcome::OtherPort => format!("it is not about port {}", asked.port),
        Outcome::NothingProven => {
            "nothing is proven about the peer but its address, and the rule wants more".to_owned()
        }
        Outcome::NotNamed => {
            format!("{} is reached only by a rule that names it", asked.place)
        }
        Outcome::SomeAddresses => {
            let verb = if rule.action.lets_pass() { "lets pass" } else { "keeps out" };
            format!("it {verb} those addresses of {} that it names", asked.place)
        }
        Outcome::Decides => match rule.action {
            Action::Allow => "it allows this".to_owned(),
            Action::Deny => match &rule.reason {
                Some(reason) => format!("it denies this: {reason}"),
                None => "it denies this".to_owned(),
            },
            Action::Permissive => "it lets this pass and records it".to_owned(),
        },
    }
}

/// A program of this host for people: `user 998, unit shop.service`.
#[must_use]
pub fn program(asker: &LocalIdentity) -> String {
    let user = match asker.uid {
        Some(UNNAMED) => None,
        Some(uid) => Some(format!("user {uid}")),
        None => Some("an unknown user".to_owned()),
    };
    let mut facts: Vec<String> = user.into_iter().collect();
    let unit = asker.unit.as_ref().filter(|unit| !unit.is_empty());
    facts.extend(unit.map(|unit| format!("unit {unit}")));
    facts.extend(asker.user_unit.as_ref().map(|unit| format!("user unit {unit}")));
    facts.extend(asker.socket.as_ref().map(|socket| format!("socket {socket}")));
    facts.extend(asker.logins.iter().map(|login| format!("login {login}")));
    if facts.is_empty() { "somebody else".to_owned() } else { facts.join(", ") }
}

/// The facts of a query, as words.
struct Asked {
    asker: String,
    scheme: String,
    place: String,
    port: String,
}

impl Asked {
    fn of(query: &Query<'_>) -> Self {
        match query {
            Query::Out { target, address, asker, .. } => Self {
                asker: program(asker),
                scheme: format!("the scheme {}", target.scheme),
                place: match address {
                    Some(address) => format!("{} at {address}", target.host),
                    None => format!("the host {}", target.host),
                },
                port: target.port.to_string(),
            },
            Query::In { peer, .. } => Self {
                asker: format!("the peer {peer}"),
                scheme: format!("the scheme {}", peer.scheme),
                place: format!("the peer {peer}"),
                port: String::new(),
            },
            Query::Local { target, asker, .. } => Self {
                asker: program(asker),
                scheme: format!("unix:{target}"),
                place: format!("unix:{target}"),
                port: String::new(),
            },
        }
    }
}
