//! Direction `out`: names that stand for addresses nobody knows yet.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use libipc::identity::LocalIdentity;

use super::{Outcome, Record, addresses, concerns, first, matched, refused, unmatched};
use crate::address::{Address, Hosts, LOCALHOST};
use crate::cure::cure;
use crate::query::{AddressRule, Query, Verdict};
use crate::rule::{Action, Rule, RuleText, Source};
use crate::scheme::Schemes;
use crate::special;
use crate::target::RemoteTarget;

/// Where a request wants to go, and what is known of the address there.
pub(super) struct Goal<'g> {
    target: &'g RemoteTarget,
    asker: &'g LocalIdentity,
    knowledge: Knowledge,
}

enum Knowledge {
    /// This is the address.
    Known(IpAddr),
    /// One of our daemons will find it.
    Found,
    /// Somebody else's daemon will, and does not tell.
    Never,
}

impl<'g> Goal<'g> {
    pub(super) fn new(
        target: &'g RemoteTarget,
        address: Option<IpAddr>,
        asker: &'g LocalIdentity,
        schemes: &Schemes,
    ) -> Self {
        let knowledge = match target.host.address().or(address) {
            Some(address) => Knowledge::Known(address.to_canonical()),
            None if schemes.dials_addresses(&target.scheme) => Knowledge::Found,
            None => Knowledge::Never,
        };
        Self { target, asker, knowledge }
    }

    fn concerns(&self, rule: &Rule, query: &Query<'_>) -> Result<(), Outcome> {
        concerns(rule, query, |rule| rule.subjects.match_local(self.asker))
    }

    /// What `address`, a place of a rule with `action`, says of this goal.
    fn reach<'a>(&self, address: &'a Address, action: Action) -> Result<Reach<'a>, Outcome> {
        if !address.has_scheme(&self.target.scheme) {
            return Err(Outcome::OtherScheme);
        }
        let networks = address.hosts.networks();
        let name = self.target.host.name();
        let named = name.is_some_and(|name| address.hosts.has_name(name));
        let reach = match &address.hosts {
            Hosts::Any => Reach::All,
            // The name localhost opens the loopback addresses alone, whatever it resolves to.
            Hosts::Localhost if named && action == Action::Deny => Reach::All,
            Hosts::Localhost | Hosts::Network(_) => Reach::Networks(networks),
            Hosts::Name(_) | Hosts::Below(_) if named => Reach::All,
            Hosts::Name(_) | Hosts::Below(_) => return Err(Outcome::OtherPlace),
        };
        if !address.has_port(&self.target.scheme, self.target.port) {
            return Err(Outcome::OtherPort);
        }
        Ok(reach)
    }
}

/// The addresses that a place of a rule speaks of.
#[derive(Clone, Copy)]
enum Reach<'a> {
    /// Whatever the target's address is. If it lets pass: but for the special ranges.
    All,
    /// Those of these networks.
    Networks(&'a [IpNet]),
}

pub(super) fn decide<'r>(
    goal: &Goal<'_>,
    considered: impl Iterator<Item = &'r Rule>,
    query: &Query<'_>,
    record: &mut Record<'_>,
) -> Verdict {
    let found = match goal.knowledge {
        Knowledge::Found => return decide_name(goal, considered, query, record),
        Knowledge::Never => first(considered, record, |rule| {
            goal.concerns(rule, query)?;
            never_known(goal, rule)
        }),
        Knowledge::Known(address) => first(considered, record, |rule| {
            goal.concerns(rule, query)?;
            at_address(goal, rule, address).map(|_| ())
        }),
    };
    let Some(rule) = found else { return no_rule(goal, query) };
    let network = match goal.knowledge {
        Knowledge::Known(address) => at_address(goal, rule, address).ok(),
        Knowledge::Found | Knowledge::Never => None,
    };
    matched(rule, query, network.map(|network| entry(rule, network)).into_iter().collect())
}

fn no_rule(goal: &Goal<'_>, query: &Query<'_>) -> Verdict {
    let Knowledge::Known(address) = goal.knowledge else { return unmatched(query) };
    match special::range_of(address) {
        Some(range) => refused(query, format!("{address} is {}, and no rule names it", range.what)),
        None => unmatched(query),
    }
}

/// Whether a place of `rule` speaks of the goal at `address`, and by which network: the narrowest.
fn at_address(goal: &Goal<'_>, rule: &Rule, address: IpAddr) -> Result<IpNet, Outcome> {
    let special = rule.action.lets_pass() && special::range_of(address).is_some();
    let mut nearest = Outcome::OtherScheme;
    let mut narrowest: Option<IpNet> = None;
    for place in addresses(rule) {
        let reached = goal.reach(place, rule.action).and_then(|reach| match reach {
            Reach::All if special => Err(Outcome::NotNamed),
            Reach::All => Ok(everything(address)),
            Reach::Networks(networks) => within(networks, address, special),
        });
        match reached {
            Err(outcome) => nearest = nearest.max(outcome),
            Ok(network) => {
                let kept = narrowest.filter(|kept| kept.prefix_len() >= network.prefix_len());
                narrowest = kept.or(Some(network));
            }
        }
    }
    narrowest.ok_or(nearest)
}

fn within(networks: &[IpNet], address: IpAddr, special: bool) -> Result<IpNet, Outcome> {
    let containing = networks.iter().find(|network| network.contains(&address));
    match containing {
        None => Err(Outcome::OtherPlace),
        Some(network) if special && !special::covers(network) => Err(Outcome::NotNamed),
        Some(network) => Ok(*network),
    }
}

/// For a goal whose address never becomes known: a network is an unknown fact.
fn never_known(goal: &Goal<'_>, rule: &Rule) -> Result<(), Outcome> {
    super::nearest_place(rule, |place| match goal.reach(place, rule.action)? {
        Reach::Networks(_) if rule.action.lets_pass() => Err(Outcome::OtherPlace),
        Reach::All | Reach::Networks(_) => Ok(()),
    })
}

/// Answers for a target that is a name: what the rules say of each network.
///
/// The special ranges stand first, ended by a refusal of all of them; so what follows may speak of
/// all addresses without reaching them.
fn decide_name<'r>(
    goal: &Goal<'_>,
    considered: impl Iterator<Item = &'r Rule>,
    query: &Query<'_>,
    record: &mut Record<'_>,
) -> Verdict {
    let mut list = List::default();
    for rule in considered {
        if list.is_complete() {
            break;
        }
        let decided = list.ordinary_decided.is_some();
        let outcome = goal.concerns(rule, query).and_then(|()| list.add(goal, rule));
        if !decided {
            record(rule, outcome.unwrap_or_else(|outcome| outcome));
        }
    }
    list.verdict(query)
}

/// Networks that rules name for one target: whoever connects is told what each of them says.
pub(crate) const NETWORKS_MOST: usize = 10_000;

/// What the rules say of the addresses that a name may have.
#[derive(Default)]
struct List<'r> {
    special: Vec<AddressRule>,
    ordinary: Vec<AddressRule>,
    /// The networks in both of these: only the first entry of each counts.
    networks: HashSet<IpNet>,
    /// The first rule that lets something pass, of ordinary addresses if there is one.
    allowing: Option<&'r Rule>,
    allowing_special: Option<&'r Rule>,
    /// The rule that decides about every ordinary address that is left.
    ordinary_decided: Option<&'r Rule>,
    /// A deny rule decides about every special address that is left.
    special_decided: bool,
    /// Room for the networks of one rule; empty between rules.
    scratch: Vec<IpNet>,
}

impl<'r> List<'r> {
    fn is_complete(&self) -> bool {
        self.ordinary_decided.is_some() && self.special_decided
    }

    /// Adds what `rule` says, narrower networks first.
    fn add(&mut self, goal: &Goal<'_>, rule: &'r Rule) -> Result<Outcome, Outcome> {
        let mut nearest = Outcome::OtherScheme;
        let mut networks = std::mem::take(&mut self.scratch);
        let mut all = false;
        let mut reached = false;
        for place in addresses(rule) {
            match goal.reach(place, rule.action) {
                Err(outcome) => nearest = nearest.max(outcome),
                Ok(reach) => {
                    reached = true;
                    match reach {
                        Reach::All => all = true,
                        Reach::Networks(more) => networks.extend_from_slice(more),
                    }
                }
            }
        }
        networks.sort_by_key(|network| std::cmp::Reverse(network.prefix_len()));
        for network in networks.drain(..) {
            self.add_network(rule, network);
        }
        self.scratch = networks;
        if !reached {
            return Err(nearest);
        }
        if !all {
            return Ok(Outcome::SomeAddresses);
        }
        self.add_all(rule);
        Ok(Outcome::Decides)
    }

    fn add_network(&mut self, rule: &'r Rule, network: IpNet) {
        if special::covers(&network) {
            self.add_special(rule, network);
            return;
        }
        if rule.action == Action::Deny {
            let inside = special::ranges().iter().map(|range| range.network);
            for range in inside.filter(|range| network.contains(range)) {
                self.add_special(rule, range);
            }
        }
        if self.ordinary_decided.is_none() && self.networks.insert(network) {
            if rule.action.lets_pass() {
                self.allowing.get_or_insert(rule);
            }
            self.ordinary.push(entry(rule, network));
        }
    }

    fn add_special(&mut self, rule: &'r Rule, network: IpNet) {
        if self.special_decided || !self.networks.insert(network) {
            return;
        }
        if rule.action.lets_pass() {
            self.allowing_special.get_or_insert(rule);
        }
        self.special.push(entry(rule, network));
    }

    fn add_all(&mut self, rule: &'r Rule) {
        self.special_decided |= rule.action == Action::Deny;
        if self.ordinary_decided.is_some() {
            return;
        }
        self.ordinary_decided = Some(rule);
        if rule.action.lets_pass() {
            self.allowing.get_or_insert(rule);
        }
        self.ordinary.extend(EVERYTHING.map(|network| entry(rule, network)));
    }

    fn verdict(mut self, query: &Query<'_>) -> Verdict {
        if self.special.len() + self.ordinary.len() > NETWORKS_MOST {
            let reason = format!(
                "the rules name more than {NETWORKS_MOST} networks for it; name its host instead"
            );
            return refused(query, reason);
        }
        let Some(rule) = self.allowing.or(self.allowing_special) else {
            let mut verdict = match self.ordinary_decided {
                Some(denying) => matched(denying, query, Vec::new()),
                None => unmatched(query),
            };
            // All of that name's addresses are special: the first rule about them decides.
            if let (Verdict::Deny { cure: shown, .. }, Some(first), true) =
                (&mut verdict, self.special.first(), is_localhost(query))
            {
                *shown = cure(query, Some(&first.rule));
            }
            return verdict;
        };
        let last_allow = self.special.iter().rposition(|entry| entry.allow);
        self.special.truncate(last_allow.map_or(0, |last| last + 1));
        let mut list = self.special;
        list.extend(special::ranges().iter().map(|range| AddressRule {
            network: range.network,
            allow: false,
            rule: Arc::clone(&SPECIAL),
        }));
        list.extend(self.ordinary);
        matched(rule, query, list)
    }
}

fn is_localhost(query: &Query<'_>) -> bool {
    matches!(query, Query::Out { target, .. } if target.host.name() == Some(LOCALHOST))
}

fn entry(rule: &Rule, network: IpNet) -> AddressRule {
    AddressRule { network, allow: rule.action.lets_pass(), rule: Arc::clone(&rule.text) }
}

fn everything(address: IpAddr) -> IpNet {
    let [v4, v6] = EVERYTHING;
    if address.is_ipv4() { v4 } else { v6 }
}

const EVERYTHING: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0)),
];

/// What stands in a list for the special ranges.
static SPECIAL: LazyLock<Arc<RuleText>> = LazyLock::new(|| {
    let text = "loopback, link-local, metadata, multicast and unspecified addresses are reached \
                only by a rule that names them";
    Arc::new(RuleText::new(text, Source::BuiltIn))
});

#[cfg(test)]
mod tests;
