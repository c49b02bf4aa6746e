//! Redirects that go round, that go too far, or that give up encryption.

use std::collections::{BTreeSet, HashMap};

use settings::Problem;

use super::{Destination, Redirect, Redirects};
use crate::pattern::Pattern;
use crate::route::HOPS_MOST;
use crate::scheme::{Protection, Schemes};

/// Every way in which redirects can lead a name round or past more than [`HOPS_MOST`] names.
pub(crate) fn endless(redirects: &Redirects) -> Vec<Problem> {
    let mut search = Search { redirects, longest: HashMap::new() };
    let mut found = BTreeSet::new();
    for start in redirects.all() {
        let names = Names::of(&start.from);
        if let Err(fault) = search.hops_by(start, &names, &mut Vec::new()) {
            found.insert(fault.problem(start));
        }
    }
    found.into_iter().collect()
}

/// Redirects to places that are not encrypted, where another candidate is, or a redirect of the
/// same names in a file of less weight leads to one that is.
pub(crate) fn downgrades(redirects: &Redirects, schemes: &Schemes) -> Vec<Problem> {
    let leads = |redirect: &Redirect, protection: Protection| {
        let mut places = redirect.to.iter().filter_map(|to| to.place(schemes));
        places.any(|place| schemes.protection(&place.scheme) == protection)
    };
    let help = "write insecure = true in its [[redirect]] if that is meant";
    let mut problems = Vec::new();
    let mut encrypted: HashMap<&str, &Redirect> = HashMap::new();
    // From the least weight to the most, so that what a redirect overrides has been seen.
    for redirect in redirects.all().iter().rev() {
        let name = redirect.from.as_str();
        let plain = leads(redirect, Protection::Plain) && !redirect.insecure;
        if plain && leads(redirect, Protection::Encrypted) {
            let message = format!("{name} leads to encrypted places, and to one that is not");
            problems.push(Problem::new(&redirect.position, message).with_help(help));
        } else if let Some(other) = encrypted.get(name).filter(|_| plain) {
            let message = format!(
                "{name} leads to a place that is not encrypted, where {} leads to one that is",
                other.source
            );
            problems.push(Problem::new(&redirect.position, message).with_help(help));
        }
        if leads(redirect, Protection::Encrypted) {
            encrypted.insert(name, redirect);
        }
    }
    problems
}

/// Names that a redirect may be asked for: one, or all that begin and end in a way.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Names {
    One(String),
    Around { before: String, after: String },
}

impl Names {
    fn of(pattern: &Pattern) -> Self {
        match pattern.as_str().split_once('*') {
            None => Self::One(pattern.as_str().to_owned()),
            Some((before, after)) => {
                Self::Around { before: before.to_owned(), after: after.to_owned() }
            }
        }
    }

    /// Those of these names that `pattern` matches, if there may be any.
    fn within(&self, pattern: &Pattern) -> Option<Self> {
        match (self, Self::of(pattern)) {
            (Self::One(name), _) => pattern.matches(name).then(|| self.clone()),
            (Self::Around { before, after }, Self::One(name)) => {
                let own = Pattern::new(&format!("{before}*{after}"));
                own.matches(&name).then_some(Self::One(name))
            }
            (Self::Around { before, after }, Self::Around { before: begin, after: end }) => {
                let (before, begin) = by_length(before, &begin);
                let (after, end) = by_length(after, &end);
                let both = begin.starts_with(before) && end.ends_with(after);
                both.then(|| Self::Around { before: begin.to_owned(), after: end.to_owned() })
            }
        }
    }

    /// Where `destination` leads these names, if to names.
    fn led_to(&self, destination: &Destination) -> Option<Self> {
        match (destination, self) {
            (Destination::Name(name), _) => Some(Self::One(name.to_string())),
            (Destination::NameAround { before, after }, Self::One(name)) => {
                Some(Self::One(format!("{before}{name}{after}")))
            }
            (
                Destination::NameAround { before, after },
                Self::Around { before: begin, after: end },
            ) => Some(Self::Around {
                before: format!("{before}{begin}"),
                after: format!("{end}{after}"),
            }),
            (Destination::Place(_) | Destination::PlaceWith(_), _) => None,
        }
    }
}

fn by_length<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    if a.len() <= b.len() { (a, b) } else { (b, a) }
}

struct Search<'r> {
    redirects: &'r Redirects,
    /// The most redirects that names, which were followed to their ends, pass.
    longest: HashMap<Names, usize>,
}

/// A redirect on the way, and the names that it was asked for.
type Step<'r> = (&'r Redirect, Names);

impl<'r> Search<'r> {
    /// The most redirects that `names` pass from here.
    fn hops(&mut self, names: &Names, path: &mut Vec<Step<'r>>) -> Result<usize, Fault> {
        if let Some(known) =
            self.longest.get(names).filter(|known| path.len() + **known <= HOPS_MOST)
        {
            return Ok(*known);
        }
        let mut longest = 0;
        let redirects = self.redirects;
        let matching: Vec<&Redirect> = match names {
            Names::One(name) => redirects.of(name).collect(),
            Names::Around { .. } => redirects.all().iter().collect(),
        };
        for redirect in matching {
            let Some(part) = names.within(&redirect.from) else { continue };
            let whole = part == *names && redirect.subjects.is_everybody();
            longest = longest.max(self.hops_by(redirect, &part, path)?);
            if whole {
                break;
            }
        }
        self.longest.insert(names.clone(), longest);
        Ok(longest)
    }

    /// The most redirects that `names` pass if `redirect` is the next.
    fn hops_by(
        &mut self,
        redirect: &'r Redirect,
        names: &Names,
        path: &mut Vec<Step<'r>>,
    ) -> Result<usize, Fault> {
        let same = |step: &Step<'r>| std::ptr::eq(step.0, redirect);
        let again = path.iter().position(|step| same(step) && step.1 == *names);
        let too_far = path.len() >= HOPS_MOST;
        let begin = again.or_else(|| path.iter().rposition(same).filter(|_| too_far));
        if let Some(begin) = begin {
            return Err(Fault::round(path.get(begin..).unwrap_or_default()));
        }
        if too_far {
            return Err(Fault::TooFar);
        }
        let mut longest = 0;
        path.push((redirect, names.clone()));
        for next in redirect.to.iter().filter_map(|destination| names.led_to(destination)) {
            longest = longest.max(self.hops(&next, path)?);
        }
        path.pop();
        Ok(longest + 1)
    }
}

/// Why names come to no end.
enum Fault {
    /// They come back: the first redirect of the circle, and the names of all.
    Round { problem: Problem },
    /// They pass too many redirects.
    TooFar,
}

impl Fault {
    fn round(circle: &[Step<'_>]) -> Self {
        let first = (0..circle.len())
            .min_by_key(|index| circle.get(*index).map(|(redirect, _)| &redirect.position));
        let (behind, before) = circle.split_at_checked(first.unwrap_or(0)).unwrap_or((&[], circle));
        let ordered: Vec<_> = before.iter().chain(behind).map(|(redirect, _)| *redirect).collect();
        let names = ordered.iter().chain(ordered.first()).map(|redirect| redirect.from.as_str());
        let message = format!("redirects go round: {}", names.collect::<Vec<_>>().join(" → "));
        let start = settings::Position::start("");
        let position = ordered.first().map_or(&start, |redirect| &redirect.position);
        Self::Round { problem: Problem::new(position, message) }
    }

    fn problem(self, start: &Redirect) -> Problem {
        match self {
            Self::Round { problem } => problem,
            Self::TooFar => {
                let message = format!("from {} more than {HOPS_MOST} redirects follow", start.from);
                Problem::new(&start.position, message)
            }
        }
    }
}
