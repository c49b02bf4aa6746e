//! What was decided, as it is told to whoever watches.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::interface::Identity;

/// Parameters of `Monitor`.
///
/// ```
/// use libipc::interface::control::Monitor;
///
/// let services = Some(vec!["db*".to_owned()]);
/// let refusals = Monitor { services, denied: Some(true), ..Monitor::default() };
/// assert_eq!(serde_json::to_string(&refusals)?, r#"{"services":["db*"],"denied":true}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Monitor {
    /// Only about these names; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Only what refuses, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<bool>,
    /// Only of clients of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// One decision about one request, with what it was made by. Without a verdict it is about none:
/// then `missed` says how many the caller was too slow for.
///
/// ```
/// use libipc::interface::control::{Decision, Verdict};
///
/// let text = r#"{"verdict":"denied","service":"db","target":"tls:db1.example.com:5432",
///     "direction":"out","allowed":false,"reason":"no rule allows it","client":"user shop (998)",
///     "revision":3,"pid":4711,"uid":998,"unit":"shop.service"}"#;
/// let decision: Decision = serde_json::from_str(text)?;
/// assert_eq!((decision.verdict, decision.allowed), (Some(Verdict::Denied), false));
/// assert!(decision.missed.is_none(), "it is about one request");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Decision {
    /// What became of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The name that was asked for; empty if it did not come to that.
    pub service: String,
    /// Where it led; empty if it led nowhere.
    pub target: String,
    /// `out`, `in` or `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Whether the client or peer got what it asked for.
    pub allowed: bool,
    /// The rule that decided, and where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// Who asked, for people.
    pub client: String,
    /// The configuration that decided.
    pub revision: u64,
    /// Who carries the bytes: `direct`, or for example `through ipcd-tlsd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// The number under which it is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// Decisions that were left out before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// Who asked.
    #[serde(flatten)]
    pub who: Identity,
}

/// What became of a request.
///
/// ```
/// use libipc::interface::control::Verdict;
///
/// let verdict: Verdict = serde_json::from_str(r#""permissive""#)?;
/// assert!(verdict.lets_pass() && verdict.refuses_or_would());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Rules let it pass.
    Allowed,
    /// A `permissive` rule let it pass; it would have been denied.
    Permissive,
    /// Rules forbid it.
    Denied,
    /// Something else is in the way.
    Failed,
    /// A limit is reached.
    Busy,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Allowed, Self::Permissive, Self::Denied, Self::Failed, Self::Busy];

    /// The verdict as it is written everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Permissive => "permissive",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Busy => "busy",
        }
    }

    /// Whether rules or limits refuse the request, or would.
    #[must_use]
    pub fn refuses_or_would(self) -> bool {
        matches!(self, Self::Permissive | Self::Denied | Self::Busy)
    }

    /// Whether the client or peer got what it asked for.
    #[must_use]
    pub fn lets_pass(self) -> bool {
        matches!(self, Self::Allowed | Self::Permissive)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
