//! Decisions and failures in the words of the broker's interface.

use libipc::identity::{LocalIdentity, RemoteIdentity};
use libipc::interface::Identity;
use libipc::interface::broker::{BrokerError, Handoff};
use libipc::interface::transport::{self, TransportError};
use libipc::name::ServiceName;
use policy::decide::Candidate;
use policy::query::{AddressRule, Verdict};
use policy::resolved::program_of;
use policy::route::{ELSEWHERE_CURE, RouteError};
use policy::rule::RuleText;
use policy::target::Target;
use sys::door::DoorError;

/// Whether an error ends a request, though other candidates are left: the far side has spoken.
pub(crate) fn is_last_word(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Untrusted { .. } | BrokerError::Refused { .. } | BrokerError::Protocol { .. }
    )
}

/// A name that leads nowhere.
pub(crate) fn of_route(error: &RouteError) -> BrokerError {
    match error {
        RouteError::Elsewhere { hop } => BrokerError::Denied {
            target: hop.target.clone(),
            rule: None,
            reason: error.to_string(),
            cure: Some(ELSEWHERE_CURE.to_owned()),
            retry: false,
        },
        error => {
            BrokerError::InvalidRequest { field: "network".to_owned(), reason: error.to_string() }
        }
    }
}

/// A name that nobody serves.
pub(crate) fn unknown(service: &ServiceName) -> BrokerError {
    BrokerError::UnknownService { service: service.to_string(), known: Vec::new() }
}

/// A name whose service registered and is gone.
pub(crate) fn stopped(service: &ServiceName, pid: Option<u32>) -> BrokerError {
    let who = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    BrokerError::Unreachable {
        target: format!("unix:{service}"),
        reason: format!("its service{who} has stopped: start it again"),
        retry: true,
    }
}

/// A front that leads to a service with a socket of its own.
pub(crate) fn front_of_a_door(service: &ServiceName) -> BrokerError {
    BrokerError::Unreachable {
        target: format!("unix:{service}"),
        reason: "it has a socket of its own on this host, to which programs connect themselves: \
                 a front leads to other hosts and to registered services"
            .to_owned(),
        retry: false,
    }
}

/// A candidate that policy denies.
pub(crate) fn denied(candidate: &Candidate) -> BrokerError {
    let Verdict::Deny { rule, reason, cure } = &candidate.verdict else {
        // Asked only for denials; an allow that gets here stays closed.
        return BrokerError::Internal { reason: "a verdict was read wrongly".to_owned() };
    };
    BrokerError::Denied {
        target: candidate.target.to_string(),
        rule: rule.as_deref().map(with_source),
        reason: reason.clone(),
        cure: Some(cure.clone()),
        retry: false,
    }
}

/// The configuration changed while the way was made, and the name leads elsewhere now.
pub(crate) fn route_changed(candidate: &Candidate) -> BrokerError {
    BrokerError::Denied {
        target: candidate.target.to_string(),
        rule: None,
        reason: "the configuration changed, and the name leads elsewhere now".to_owned(),
        cure: None,
        retry: true,
    }
}

/// A service of this host whose socket cannot be opened.
pub(crate) fn no_door(service: &ServiceName, error: &DoorError) -> BrokerError {
    match error {
        DoorError::NotFound => unknown(service),
        error => BrokerError::Unreachable {
            target: format!("unix:{service}"),
            reason: error.to_string(),
            retry: false,
        },
    }
}

/// A socket that somebody else put there.
pub(crate) fn foreign_owner(service: &ServiceName, owner: u32) -> BrokerError {
    BrokerError::Unreachable {
        target: format!("unix:{service}"),
        reason: format!(
            "its socket belongs to uid {owner}; write owner = \"{owner}\" under \
             [services.{service}] if that is right"
        ),
        retry: false,
    }
}

/// The client can use nothing of what there is.
pub(crate) fn no_handoff(candidate: &Candidate, possible: &[Handoff]) -> BrokerError {
    BrokerError::NoHandoff { target: candidate.target.to_string(), possible: possible.to_vec() }
}

/// A daemon that the target needs has no place here.
pub(crate) fn transport_missing(candidate: &Candidate, daemon: &str) -> BrokerError {
    let program = program_of(daemon);
    BrokerError::TransportMissing {
        target: candidate.target.to_string(),
        cure: format!("systemctl start ipcd-{program}, or: ipcd --with {program}"),
        transport: program.into_owned(),
    }
}

/// A daemon that the target needs went away, or refuses.
pub(crate) fn transport_gone(candidate: &Candidate) -> BrokerError {
    let daemon = match &candidate.target {
        Target::Remote(remote) => remote.scheme.as_str(),
        Target::Local(_) => "",
    };
    transport_missing(candidate, daemon)
}

/// The daemon that brought a peer went away, or does not answer as agreed.
pub(crate) fn bringer_gone(candidate: &Candidate) -> BrokerError {
    BrokerError::Unreachable {
        target: candidate.target.to_string(),
        reason: "the daemon that the peer came through gave it up".to_owned(),
        retry: true,
    }
}

/// A daemon handed over something that is not what was asked for.
pub(crate) fn wrong_descriptor(candidate: &Candidate) -> BrokerError {
    BrokerError::Protocol {
        target: candidate.target.to_string(),
        reason: "what came back is not a connection to that target".to_owned(),
    }
}

/// A daemon's error.
pub(crate) fn of_transport(
    candidate: &Candidate,
    error: TransportError,
    waited_ms: u64,
) -> BrokerError {
    let target = candidate.target.to_string();
    match error {
        TransportError::Unreachable { reason, retry } => {
            BrokerError::Unreachable { target, reason, retry }
        }
        TransportError::Refused { reason, retry } => BrokerError::Refused { target, reason, retry },
        TransportError::Untrusted { reason } => BrokerError::Untrusted { target, reason },
        TransportError::Protocol { reason } => BrokerError::Protocol { target, reason },
        TransportError::TimedOut {} => BrokerError::TimedOut { target, waited_ms },
        TransportError::AddressDenied { address, rule } => BrokerError::Denied {
            target,
            reason: format!("it has the address {address}: {rule}"),
            rule: None,
            cure: None,
            retry: false,
        },
        TransportError::Busy { limit, most } => BrokerError::Busy { limit, most, retry: true },
        TransportError::InvalidRequest { field, reason } => {
            BrokerError::InvalidRequest { field, reason }
        }
        error => BrokerError::Internal { reason: format!("{error:?}") },
    }
}

/// Policy's list of addresses as it travels. A daemon that does the connecting itself gets one
/// that lets everything pass: rules about its addresses cannot be written.
pub(crate) fn addresses(rules: &[AddressRule], is_decided: bool) -> Vec<transport::AddressRule> {
    if !is_decided {
        return ["0.0.0.0/0", "::/0"]
            .map(|network| transport::AddressRule {
                network: network.to_owned(),
                allow: true,
                rule: String::new(),
            })
            .into();
    }
    let travelling = |rule: &AddressRule| transport::AddressRule {
        network: rule.network.to_string(),
        allow: rule.allow,
        rule: shortened(&rule.rule),
    };
    rules.iter().map(travelling).collect()
}

/// The deciding rule with where it is written; empty if there is none.
pub(crate) fn rule_with_source(verdict: &Verdict) -> String {
    verdict.rule().map(with_source).unwrap_or_default()
}

/// A rule that names many networks travels with each of them: not its whole text.
fn shortened(rule: &RuleText) -> String {
    format!("{} ({})", rule.beginning(RULE_CHARACTERS), rule.source())
}

/// Characters of a rule's text that travel with a network.
const RULE_CHARACTERS: usize = 160;

/// A rule with where it is written.
pub(crate) fn with_source(rule: &RuleText) -> String {
    format!("{} ({})", rule.shown(), rule.source())
}

/// Who asks, for people.
pub(crate) fn who_is(identity: &Identity) -> String {
    match identity {
        Identity::Local(local) => who(local),
        Identity::Remote(RemoteIdentity { scheme, address, names }) => {
            let names =
                if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            format!("{scheme} from {address}{names}")
        }
    }
}

/// Which process of this host asks, for people: `uid 998, pid 4711, unit shop.service`.
pub(crate) fn who(identity: &LocalIdentity) -> String {
    let number = |id: Option<u32>| id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    let LocalIdentity { unit, user_unit, socket, .. } = identity;
    let ids = format!("uid {}, pid {}", number(identity.uid), number(identity.pid));
    let named = [("unit", unit), ("user unit", user_unit), ("socket", socket)];
    let named = named.into_iter().filter_map(|(word, name)| Some((word, name.as_ref()?)));
    let named = named.map(|(word, name)| format!("{word} {name}"));
    let logins = identity.logins.iter().map(|login| format!("login {login}"));
    std::iter::once(ids).chain(named).chain(logins).collect::<Vec<_>>().join(", ")
}
