//! What one table says of another.

use std::collections::{BTreeMap, BTreeSet};

use settings::{Section, Text, nearest};

use super::{CertificateFiles, SYSTEM, SecretPlace, TrustFiles};

/// The tables that there are.
pub(super) struct Known {
    certificates: BTreeSet<String>,
    trusts: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl Known {
    pub(super) fn new(
        certificates: &BTreeMap<String, CertificateFiles>,
        trusts: &BTreeMap<String, TrustFiles>,
        keys: &BTreeMap<String, SecretPlace>,
    ) -> Self {
        Self {
            certificates: certificates.keys().cloned().collect(),
            trusts: trusts.keys().cloned().collect(),
            keys: keys.keys().cloned().collect(),
        }
    }

    pub(super) fn certificate(&self, section: &Section<'_>, text: &Text) -> Option<String> {
        find(&self.certificates, "certificate", section, text)
    }

    pub(super) fn key(&self, section: &Section<'_>, text: &Text) -> Option<String> {
        find(&self.keys, "key", section, text)
    }

    /// Whom we believe when we dial.
    pub(super) fn trust(&self, section: &Section<'_>, text: &Text) -> Option<String> {
        if text.as_str() == SYSTEM {
            return Some(SYSTEM.to_owned());
        }
        find(&self.trusts, "trust", section, text)
    }

    /// Which clients we believe. The system's authorities certify servers of the whole world.
    pub(super) fn clients(&self, section: &Section<'_>, text: &Text) -> Option<String> {
        if text.as_str() == SYSTEM {
            let why = "clients are believed by a trust of their own: write a table [trust.NAME]";
            section.report(text.problem(why));
            return None;
        }
        find(&self.trusts, "trust", section, text)
    }
}

fn find(
    known: &BTreeSet<String>,
    kind: &str,
    section: &Section<'_>,
    text: &Text,
) -> Option<String> {
    let name = text.as_str();
    if known.contains(name) {
        return Some(name.to_owned());
    }
    let problem = text.problem(format_args!("there is no table [{kind}.{}]", name.escape_debug()));
    let meant = nearest(name, known.iter().map(String::as_str));
    let problem = match meant {
        Some(meant) => problem.with_help(format_args!("did you mean `{meant}`?")),
        None => problem,
    };
    section.report(problem);
    None
}
