//! One file of the configuration, as it is written.

use settings::{File, Position, Problem, Section, Text, Value};

use super::{LogDecisions, OnReload, limits, service};
use crate::expectation::Expectation;
use crate::scheme::is_scheme;

/// What is said of keys that the design has and this version does not.
pub(super) const NOT_IN_THIS_VERSION: &str = "not in this version";

/// What is said of a redirect that is to lead peers through this host.
const NO_GATEWAY: &str = "not in this version: leave it out, and lead to the other host where the \
                          peers are, since from here they are led on within this host alone";

/// A file, with every value of its type, and nothing looked up yet.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) rules: Vec<Text>,
    pub(super) redirects: Vec<Redirect>,
    pub(super) services: Vec<(Text, service::Written)>,
    pub(super) schemes: Vec<(Text, Vec<Box<str>>)>,
    pub(super) limits: limits::Written,
    pub(super) admin_groups: Vec<Text>,
    pub(super) log_decisions: Option<LogDecisions>,
    pub(super) tests: Vec<Expectation>,
    pub(super) on_reload: Option<OnReload>,
    /// The service that verifies logins.
    pub(super) authentication: Option<Text>,
}

/// A redirect as it is written.
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) from: Text,
    pub(super) to: Vec<Text>,
    pub(super) subjects: Vec<Text>,
    pub(super) insecure: bool,
    pub(super) position: Position,
}

impl Raw {
    /// The file, as far as it can be read, and what is wrong with it.
    pub(super) fn read(file: &File) -> (Option<Self>, Vec<Problem>) {
        settings::read_all(&file.name, &file.text, read)
    }
}

fn read(mut root: Section<'_>) -> Raw {
    root.refuse("transports", NOT_IN_THIS_VERSION);
    let mut redirects: Vec<_> =
        root.section("redirects").map(read_short_redirects).unwrap_or_default();
    redirects.extend(root.sections("redirect").into_iter().filter_map(read_redirect));
    redirects.sort_by(|a, b| a.position.cmp(&b.position));
    let decisions = root.section("log").and_then(|mut log| {
        let words = [
            ("denied", LogDecisions::Denied),
            ("all", LogDecisions::All),
            ("none", LogDecisions::None),
        ];
        log.value("decisions")?.word(&words)
    });
    let on_reload = root
        .value("on-reload")
        .and_then(|value| value.word(&[("keep", OnReload::Keep), ("revoke", OnReload::Revoke)]));
    Raw {
        rules: root.texts("rules"),
        redirects,
        services: root.section("services").map(read_services).unwrap_or_default(),
        schemes: root.section("schemes").map(read_schemes).unwrap_or_default(),
        limits: root
            .section("limits")
            .map(|mut limits| limits::Written::read(&mut limits))
            .unwrap_or_default(),
        admin_groups: root.texts("admin-groups"),
        log_decisions: decisions,
        tests: root.sections("test").into_iter().filter_map(Expectation::read).collect(),
        on_reload,
        authentication: root.section("authentication").and_then(|mut authentication| {
            authentication.required("service").and_then(|value| value.text())
        }),
    }
}

fn read_short_redirects(mut section: Section<'_>) -> Vec<Redirect> {
    let entries = section.entries().into_iter();
    entries
        .filter_map(|(from, value)| {
            let position = from.position().clone();
            let (subjects, insecure) = (Vec::new(), false);
            Some(Redirect { from, to: vec![value.text()?], subjects, insecure, position })
        })
        .collect()
}

fn read_redirect(mut section: Section<'_>) -> Option<Redirect> {
    let from = section.required("from").and_then(|value| value.text());
    let to = section.required("to").and_then(|value| {
        let to = value.texts()?;
        if to.is_empty() {
            value.problem("an empty list leads nowhere");
        }
        Some(to)
    });
    let subjects = section.value("for").map(|value| read_for(&value)).unwrap_or_default();
    section.refuse("gateway", NO_GATEWAY);
    let insecure = section.flag("insecure").unwrap_or_default();
    let position = section.position();
    Some(Redirect { from: from?, to: to?, subjects, insecure, position })
}

/// An empty `for` would be nobody to its author, and everybody to us.
fn read_for(value: &Value<'_>) -> Vec<Text> {
    let subjects = value.texts().unwrap_or_default();
    if subjects.is_empty() {
        value.problem("nobody is named; leave `for` out to mean everybody");
    }
    subjects
}

fn read_services(mut section: Section<'_>) -> Vec<(Text, service::Written)> {
    let entries = section.entries().into_iter();
    entries
        .filter_map(|(name, value)| {
            let position = name.position().clone();
            Some((name, service::Written::read(value.section()?, position)))
        })
        .collect()
}

fn read_schemes(mut section: Section<'_>) -> Vec<(Text, Vec<Box<str>>)> {
    let entries = section.entries().into_iter();
    entries
        .filter_map(|(name, value)| {
            if !is_scheme(name.as_str()) || matches!(name.as_str(), "unix" | "any") {
                let message = "a scheme is a lower-case word, and neither unix nor any";
                value.report(name.problem(message));
                return None;
            }
            let daemons = value.list()?;
            let read = |daemon: &Value<'_>| {
                let text = daemon.text()?;
                let fits = is_scheme(text.as_str());
                if !fits {
                    daemon.problem("wants the name of a daemon, a lower-case word");
                }
                fits.then(|| text.as_str().into())
            };
            if daemons.is_empty() {
                value.problem("a scheme takes at least one daemon");
            }
            Some((name, daemons.iter().filter_map(read).collect()))
        })
        .collect()
}
