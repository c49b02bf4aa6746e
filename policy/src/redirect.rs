//! Redirects: lines of the administrator that lead a name elsewhere.

use std::collections::HashMap;

use libipc::identity::LocalIdentity;
use libipc::name::ServiceName;
use libipc::secret::Secret;
use settings::{Position, Text};

use crate::fact::Fact;
use crate::merge::Merge;
use crate::pattern::Pattern;
use crate::rule::Source;
use crate::scheme::Schemes;
use crate::subject::Subjects;
use crate::target::{Author, RemoteTarget, Target, TargetError};

pub(crate) mod check;

/// A line that leads names elsewhere.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The names; at most one `*`.
    pub from: Pattern,
    /// Where they lead: candidates, in the order in which they are tried.
    pub to: Vec<Destination>,
    /// For whom; everybody, if it names nobody.
    pub subjects: Subjects,
    /// What would be encrypted otherwise may be led over a scheme that is not.
    pub insecure: bool,
    /// Where it stands, for people.
    pub source: Source,
    /// Where it stands, to the column.
    pub position: Position,
}

/// Where a redirect leads.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To another name.
    Name(ServiceName),
    /// To a name that is made of the requested one.
    NameAround {
        /// What stands before it.
        before: Box<str>,
        /// What stands behind it.
        after: Box<str>,
    },
    /// To a place on another host.
    Place(Box<RemoteTarget>),
    /// To a place whose text has `{name}`.
    PlaceWith(Secret),
}

/// What stands for the requested name.
const NAME: &str = "{name}";

impl Destination {
    /// Reads where a redirect leads.
    ///
    /// # Errors
    ///
    /// [`TargetError`] says what the redirect's author has to change.
    pub fn parse(text: &Text, schemes: &Schemes) -> Result<Self, TargetError> {
        let text = text.as_str();
        if !text.contains(NAME) {
            return Ok(match Target::parse(text, Author::Administrator, schemes)? {
                Target::Local(name) => Self::Name(name),
                Target::Remote(remote) => Self::Place(Box::new(remote)),
            });
        }
        // Any name will do to see that the rest is a target.
        match Target::parse(&text.replace(NAME, "n"), Author::Administrator, schemes)? {
            Target::Remote(_) => Ok(Self::PlaceWith(Secret::new(text.to_owned()))),
            Target::Local(_) => {
                let bare = text.strip_prefix("unix://").unwrap_or(text);
                let bare = bare.strip_prefix('/').unwrap_or(bare);
                match bare.split_once(NAME) {
                    Some((before, after)) if !after.contains(NAME) => {
                        Ok(Self::NameAround { before: before.into(), after: after.into() })
                    }
                    _ => Err(TargetError::TwoNames),
                }
            }
        }
    }

    /// Where `name` leads.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the destination and this name make no target, for example because they
    /// are too long together.
    pub fn of(&self, name: &ServiceName, schemes: &Schemes) -> Result<Target, TargetError> {
        match self {
            Self::Name(name) => Ok(Target::Local(name.clone())),
            Self::NameAround { before, after } => {
                Ok(Target::Local(ServiceName::new(&format!("{before}{name}{after}"))?))
            }
            Self::Place(remote) => Ok(Target::Remote(remote.as_ref().clone())),
            Self::PlaceWith(text) => {
                let text = Secret::new(text.expose().replace(NAME, name.as_str()));
                Target::parse(text.expose(), Author::Administrator, schemes)
            }
        }
    }

    /// A place that this may be, if it is one on another host.
    #[must_use]
    pub fn place(&self, schemes: &Schemes) -> Option<RemoteTarget> {
        match self {
            Self::Name(_) | Self::NameAround { .. } => None,
            Self::Place(remote) => Some(remote.as_ref().clone()),
            Self::PlaceWith(text) => {
                let example = Secret::new(text.expose().replace(NAME, "n"));
                let target = Target::parse(example.expose(), Author::Administrator, schemes);
                target.ok()?.remote().cloned()
            }
        }
    }
}

/// All redirects, in their order, and found quickly.
#[derive(Clone, Debug, Default)]
pub struct Redirects {
    all: Vec<Redirect>,
    exact: HashMap<Box<str>, Vec<usize>>,
    wild: Vec<usize>,
}

impl Redirects {
    /// Takes redirects in their order.
    #[must_use]
    pub fn new(all: Vec<Redirect>) -> Self {
        let mut redirects = Self { all, ..Self::default() };
        for (index, redirect) in redirects.all.iter().enumerate() {
            if redirect.from.is_exact() {
                let name = redirect.from.as_str().into();
                redirects.exact.entry(name).or_default().push(index);
            } else {
                redirects.wild.push(index);
            }
        }
        redirects
    }

    /// All of them, in their order.
    #[must_use]
    pub fn all(&self) -> &[Redirect] {
        &self.all
    }

    /// Whom every redirect is for, to look accounts up again.
    pub(crate) fn subjects(&mut self) -> impl Iterator<Item = &mut Subjects> {
        self.all.iter_mut().map(|redirect| &mut redirect.subjects)
    }

    /// The redirects that may lead `name` elsewhere, in their order.
    pub fn of<'r, 'n>(&'r self, name: &'n str) -> impl Iterator<Item = &'r Redirect> + use<'r, 'n> {
        let exact = self.exact.get(name).map(Vec::as_slice).unwrap_or_default();
        let indices = Merge::new([exact, &self.wild]);
        let redirects = indices.filter_map(|index| self.all.get(index));
        redirects.filter(move |redirect| redirect.from.matches(name))
    }

    /// The redirect that leads `name` elsewhere for `asker`; `None` is a peer on another host, for
    /// whom only those are that are for everybody.
    #[must_use]
    pub fn first(&self, name: &ServiceName, asker: Option<&LocalIdentity>) -> Option<&Redirect> {
        self.of(name.as_str()).find(|redirect| match asker {
            Some(asker) => redirect.subjects.match_local(asker) == Fact::True,
            None => redirect.subjects.is_everybody(),
        })
    }
}

#[cfg(test)]
mod tests;
