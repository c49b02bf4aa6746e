//! One line of policy, as a type.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use settings::Position;

use crate::address::Place;
use crate::pattern::Pattern;
use crate::subject::Subjects;

mod parse;

pub use parse::{Reading, parse_rules};

/// A rule: what to do with the requests that it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What to do.
    pub action: Action,
    /// Which requests: into this host, out of it, or within it.
    pub direction: Direction,
    /// The services; at least one.
    pub services: Vec<Pattern>,
    /// The places; empty in direction `local` for any, never empty otherwise.
    pub places: Vec<Place>,
    /// Who asks.
    pub subjects: Subjects,
    /// Why, in the words of whoever wrote the rule.
    pub reason: Option<Box<str>>,
    /// The rule as text, and where it stands.
    pub text: Arc<RuleText>,
    /// Where it stands, to the column.
    pub position: Position,
}

/// What a rule does with a request that it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Refuse it.
    Deny,
    /// Let it pass, and record that it would have been refused.
    Permissive,
}

/// Which requests a rule is about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// A program of this host asks for a place on another.
    Out,
    /// A peer on another host asks for a service of this one.
    In,
    /// A program of this host asks for a service of this host.
    Local,
}

/// A rule as people read it. `Display` is its canonical text; the text leads to the same rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleText {
    text: Box<str>,
    source: Source,
}

/// Where a rule or a redirect stands. `Display` is for people: `ipcd.d/50-shop.toml:6`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// In a file.
    File {
        /// The file.
        name: Arc<str>,
        /// The line; the first is 1.
        line: usize,
    },
    /// On the broker's command line.
    CommandLine(Arc<str>),
    /// In the client's `IPC_NETWORK`.
    Client,
    /// Nowhere: it is always there.
    BuiltIn,
}

impl RuleText {
    pub(crate) fn new(text: &str, source: Source) -> Self {
        Self { text: text.into(), source }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text for people, and for messages that have to fit somewhere: of a very long rule its
    /// beginning.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        self.beginning(SHOWN_CHARACTERS_MOST)
    }

    /// As much of the text as that many characters.
    #[must_use]
    pub fn beginning(&self, most: usize) -> Cow<'_, str> {
        beginning(&self.text, most)
    }

    /// Where the rule stands.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }
}

/// Characters of a rule, and of who it is about, that answers, events and explanations show.
pub(crate) const SHOWN_CHARACTERS_MOST: usize = 1_000;

/// That many characters of `text`, with `…` in place of the others.
pub(crate) fn beginning(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

impl Action {
    /// Whether a request passes.
    #[must_use]
    pub fn lets_pass(self) -> bool {
        self != Self::Deny
    }
}

impl Rule {
    /// Writes the canonical text of the rule with these parts.
    fn canonical(&self) -> String {
        let services: Vec<_> = self.services.iter().map(Pattern::as_str).collect();
        let mut text = format!("{} {} {}", self.action, self.direction, services.join(","));
        let places: Vec<_> = self.places.iter().map(ToString::to_string).collect();
        if !places.is_empty() {
            text.push(' ');
            text.push_str(&places.join(","));
        }
        if !self.subjects.is_everybody() {
            text.push_str(" for ");
            text.push_str(&self.subjects.to_string());
        }
        if let Some(reason) = &self.reason {
            text.push_str(" reason \"");
            text.push_str(reason);
            text.push('"');
        }
        text
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::CommandLine(which) => f.write_str(which),
            Self::Client => f.write_str("IPC_NETWORK"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Permissive => "permissive",
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Local => "local",
        })
    }
}

#[cfg(test)]
mod tests;
