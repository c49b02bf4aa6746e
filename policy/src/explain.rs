//! Why a rule did or did not decide, in sentences.

use std::sync::Arc;

use libipc::identity::LocalIdentity;

use crate::described::UNNAMED;
use crate::evaluate::{Outcome, matches_in_doubt};
use crate::fact::Fact;
use crate::query::Query;
use crate::rule::{Action, Rule, RuleText, SHOWN_CHARACTERS_MOST, beginning};

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

/// Bytes of the rules that one explanation tells of, of all ways that a name leads together. The
/// broker's answer has to fit into what may wait for a client, and nobody is to keep the broker
/// busy by asking why.
const TOLD_BYTES_MOST: usize = 128 * 1024;

/// Bytes that a rule takes besides its text and the sentence about it.
const FRAME_BYTES: usize = 128;

/// The rules that were looked at on one of the ways that a name leads, as far as there is room to
/// tell of them. Those about other services are the first to be left out.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) considered: Vec<Considered>,
    /// Rules that were looked at, did not decide, and are not among these.
    pub(crate) omitted: usize,
    room: usize,
    room_for_others: usize,
}

impl Told {
    /// The room of one of so many `ways`.
    pub(crate) fn new(ways: usize) -> Self {
        let room = TOLD_BYTES_MOST / ways.max(1);
        let room_for_others = room / 4;
        Self { considered: Vec::new(), omitted: 0, room: room - room_for_others, room_for_others }
    }

    pub(crate) fn look_at(&mut self, rule: &Rule, outcome: Outcome, query: &Query<'_>) {
        let is_other = outcome == Outcome::OtherService;
        let room = if is_other { &mut self.room_for_others } else { &mut self.room };
        if *room == 0 && outcome != Outcome::Decides {
            self.omitted += 1;
            return;
        }
        let one = Considered::new(rule, outcome, query);
        *room = room.saturating_sub(one.bytes());
        self.considered.push(one);
    }
}

impl Considered {
    fn bytes(&self) -> usize {
        self.rule.shown().len() + self.note.len() + FRAME_BYTES
    }

    fn new(rule: &Rule, outcome: Outcome, query: &Query<'_>) -> Self {
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
        Outcome::OtherSubject => other_subject(rule, query, &asked.asker),
        Outcome::UnknownSubject => {
            format!("it is about {}, and whether that asks is not known", subjects(rule))
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
            Action::Deny => {
                let doubt = doubt(rule, query).unwrap_or_default();
                let reason = rule.reason.as_ref().map(|reason| format!(": {reason}"));
                format!("it denies this{doubt}{}", reason.unwrap_or_default())
            }
            Action::Permissive => "it lets this pass and records it".to_owned(),
        },
    }
}

fn subjects(rule: &Rule) -> String {
    beginning(&rule.subjects.to_string(), SHOWN_CHARACTERS_MOST).into_owned()
}

/// Whom a rule is about, and what of that does not hold where some of it does.
fn other_subject(rule: &Rule, query: &Query<'_>, asker: &str) -> String {
    let (all, kinds) = (subjects(rule), kinds_that_are(Fact::False, rule, query));
    match kinds {
        Some(kinds) if kinds != all => format!("it is about {all}, and {asker} is not {kinds}"),
        _ => format!("it is about {all}, not {asker}"),
    }
}

/// Why a rule denies what may not be meant.
fn doubt(rule: &Rule, query: &Query<'_>) -> Option<String> {
    if !matches_in_doubt(rule, query) {
        return None;
    }
    Some(match kinds_that_are(Fact::Unknown, rule, query) {
        Some(kinds) => format!(", since nobody can tell that it is not {kinds} who asks"),
        None => ", since nothing that the peer has proven rules it out".to_owned(),
    })
}

fn kinds_that_are(fact: Fact, rule: &Rule, query: &Query<'_>) -> Option<String> {
    let (Query::Out { asker, .. } | Query::Local { asker, .. }) = query else { return None };
    let kinds = rule.subjects.kinds_that_are(fact, asker);
    Some(beginning(&kinds, SHOWN_CHARACTERS_MOST).into_owned())
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
