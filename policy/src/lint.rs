//! Lines of a configuration that are valid and probably not meant.
//!
//! Only what is certain is reported, so that a warning is worth reading.

use std::collections::HashMap;

use settings::Problem;

use crate::address::{Address, Hosts, Place};
use crate::config::Config;
use crate::pattern::Pattern;
use crate::redirect::Redirect;
use crate::rule::{Action, Direction, Rule};
use crate::scheme::Schemes;
use crate::special;
use crate::target::RemoteTarget;

/// What is odd about `config`, in the order of directions and rules, then of redirects.
#[must_use]
pub fn lint(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for direction in [Direction::Out, Direction::In, Direction::Local] {
        for rule in config.rules.all(direction) {
            problems.extend(never_decides(config, rule));
            problems.extend(contradiction(config.schemes(), rule));
            problems.extend(opens_all(rule));
        }
    }
    let mut seen = HashMap::new();
    for redirect in config.redirects.all() {
        problems.extend(never_used(redirect, &mut seen));
        problems.extend(leads_nowhere(config, redirect));
    }
    problems
}

/// Rules that are compared with each one, at most: with more, a check would take long.
const EARLIER_MOST: usize = 1_000;

/// A rule before which another one stands that takes all its requests.
fn never_decides(config: &Config, rule: &Rule) -> Option<Problem> {
    let service = rule.services.first()?.as_str();
    let host = rule.places.first().and_then(|place| match place {
        Place::Remote(Address { hosts: Hosts::Name(name), .. }) => Some(name.as_str()),
        Place::Remote(_) | Place::Local(_) => None,
    });
    let candidates = config.rules.about(rule.direction, service, host);
    let mut earlier = candidates.take_while(|other| !std::ptr::eq(*other, rule)).take(EARLIER_MOST);
    let other = earlier.find(|other| covers(other, rule))?;
    let message = format!("the rule never decides: `{other}` stands before it");
    let help = format!("that is at {}; the first rule that matches decides", other.text.source());
    Some(Problem::new(&rule.position, message).with_help(help))
}

/// Whether `first` decides whatever `second` could.
fn covers(first: &Rule, second: &Rule) -> bool {
    covers_subjects(first, second)
        && second.services.iter().all(|service| has(&first.services, service))
        && covers_places(first, second)
}

fn has(patterns: &[Pattern], service: &Pattern) -> bool {
    patterns.iter().any(|pattern| pattern.covers(service))
}

fn covers_subjects(first: &Rule, second: &Rule) -> bool {
    let same = first.subjects == second.subjects;
    // An unknown asker passes an allow rule by, and is caught by a deny rule behind it.
    let unknown_passes = first.action.lets_pass() && second.action == Action::Deny;
    first.subjects.is_everybody() || same && !unknown_passes
}

fn covers_places(first: &Rule, second: &Rule) -> bool {
    if first.places.is_empty() {
        return true;
    }
    let covered = |place: &Place| match place {
        Place::Local(pattern) => {
            first.places.iter().any(|own| matches!(own, Place::Local(own) if own.covers(pattern)))
        }
        Place::Remote(address) => first.places.iter().any(|own| match own {
            Place::Remote(own) => covers_address(first, own, second, address),
            Place::Local(_) => false,
        }),
    };
    !second.places.is_empty() && second.places.iter().all(covered)
}

fn covers_address(first: &Rule, own: &Address, second: &Rule, address: &Address) -> bool {
    let scheme = own.scheme.is_none() || own.scheme == address.scheme;
    if !scheme || !own.hosts.covers(&address.hosts) || !own.ports.covers(address.ports) {
        return false;
    }
    if first.action == Action::Deny {
        return true;
    }
    let networks = address.hosts.networks();
    let by_address = !own.hosts.networks().is_empty();
    match first.direction {
        // What is not proven, or not known, passes an allow rule by.
        Direction::In => {
            by_address
                || second.action.lets_pass() && networks.is_empty() && !second.subjects.anonymous
        }
        Direction::Out if second.action == Action::Deny && own.scheme.is_none() => {
            networks.is_empty()
        }
        // A rule that does not name special addresses does not reach them.
        Direction::Out => {
            let touches_special = networks.iter().any(|network| {
                let ranges = special::ranges().iter().map(|range| range.network);
                ranges.into_iter().any(|range| range.contains(network) || network.contains(&range))
            });
            !touches_special || own.hosts.networks().iter().any(special::covers)
        }
        Direction::Local => true,
    }
}

/// A rule of direction `in` that no peer can match.
fn contradiction(schemes: &Schemes, rule: &Rule) -> Option<Problem> {
    if rule.direction != Direction::In || !rule.action.lets_pass() {
        return None;
    }
    let needs_proof = |address: &Address| match &address.hosts {
        Hosts::Any => !rule.subjects.anonymous,
        Hosts::Name(_) | Hosts::Below(_) => true,
        Hosts::Localhost | Hosts::Network(_) => false,
    };
    let impossible = |address: &Address| {
        let proves = |scheme: &str| schemes.proves_names(scheme) && !rule.subjects.anonymous;
        needs_proof(address) && address.scheme.as_deref().is_some_and(|scheme| !proves(scheme))
    };
    let mut addresses = rule.places.iter().filter_map(|place| match place {
        Place::Remote(address) => Some(address),
        Place::Local(_) => None,
    });
    let all = addresses.all(impossible);
    all.then(|| {
        let message = "the rule never matches: of such a peer nothing is proven but its address";
        let help = "write addresses, or `for anonymous` beside an address of *";
        Problem::new(&rule.position, message).with_help(help)
    })
}

fn opens_all(rule: &Rule) -> Option<Problem> {
    let everything = rule.action == Action::Permissive
        && rule.services.iter().any(Pattern::is_any)
        && rule.subjects.is_everybody()
        && (rule.places.is_empty() || rule.places.iter().any(is_everywhere));
    everything.then(|| {
        let message = format!("the rule lets everything pass in direction {}", rule.direction);
        Problem::new(&rule.position, message)
    })
}

fn is_everywhere(place: &Place) -> bool {
    matches!(place, Place::Remote(Address { scheme: None, hosts: Hosts::Any, .. }))
}

/// A redirect behind another one of the same names in the same file.
fn never_used<'c>(
    redirect: &'c Redirect,
    seen: &mut HashMap<(&'c str, &'c str), &'c Redirect>,
) -> Option<Problem> {
    let key = (&*redirect.position.file, redirect.from.as_str());
    if let Some(earlier) = seen.get(&key) {
        let message = format!("the redirect is never used: {} stands before it", earlier.source);
        return Some(Problem::new(&redirect.position, message));
    }
    if redirect.subjects.is_everybody() {
        seen.insert(key, redirect);
    }
    None
}

/// A redirect to a place that no rule allows, whoever asks for whatever service.
fn leads_nowhere(config: &Config, redirect: &Redirect) -> Option<Problem> {
    let mut places = redirect.to.iter().filter_map(|to| match to {
        crate::redirect::Destination::Place(place) => Some(place),
        _ => None,
    });
    let forbidden = places.find(|place| {
        let mut rules = config.rules.all(Direction::Out).iter();
        !rules.any(|rule| rule.action.lets_pass() && may_match(rule, place))
    })?;
    let target = crate::target::Target::Remote(forbidden.as_ref().clone());
    let message = format!("{} leads to {target}, which no rule allows", redirect.from);
    let help = format!("allow out {} {}", redirect.from, forbidden.address());
    Some(Problem::new(&redirect.position, message).with_help(help))
}

fn may_match(rule: &Rule, target: &RemoteTarget) -> bool {
    rule.places.iter().any(|place| match place {
        Place::Local(_) => false,
        Place::Remote(address) => {
            let hosts = &address.hosts;
            let named = target.host.name().is_none_or(|name| hosts.has_name(name));
            address.has_scheme(&target.scheme)
                && address.has_port(&target.scheme, target.port)
                && (named || !hosts.networks().is_empty())
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::fixture::load;

    fn warnings(text: &str) -> Vec<String> {
        let loaded = load(text).unwrap();
        loaded.warnings.iter().map(|warning| warning.problem.to_string()).collect()
    }

    fn of_rules(rules: &[&str]) -> Vec<String> {
        warnings(&format!("rules = '''\n{}\n'''", rules.join("\n")))
    }

    #[test]
    fn a_rule_behind_one_that_takes_all_its_requests_never_decides() {
        for rules in [
            ["deny in * *", "allow in authd tls:example.com"],
            ["deny out * *", "allow out x tcp:127.0.0.1:80"],
            ["allow out x *", "deny out x tcp:h:1"],
            ["allow out x* tcp:*.example.com:*", "allow out xy tcp:a.example.com:80"],
            ["allow out x tcp:10.0.0.0/8:1-9", "allow out x tcp:10.1.0.0/16:5"],
            ["allow out x tcp:127.0.0.0/8:*", "allow out x tcp:127.0.0.1:80"],
            ["deny local * for user:1", "allow local x for user:1"],
            ["allow local x", "deny local x unix:y"],
            ["deny in x tcp", "allow in x tcp:10.0.0.1"],
            ["allow in x tcp:10.0.0.0/8", "deny in x tcp:10.0.0.1"],
            ["allow out x,y *", "allow out y,x tcp"],
        ] {
            let found = of_rules(&rules);
            assert_eq!(found.len(), 1, "{rules:?}: {found:?}");
            assert!(found[0].starts_with("ipcd.toml:3:1: the rule never decides: `"), "{found:?}");
            assert!(
                found[0].ends_with("that is at ipcd.toml:2; the first rule that matches decides")
            );
        }
    }

    #[test]
    fn a_rule_that_can_decide_is_left_alone() {
        for rules in [
            ["allow in authd tls:example.com", "deny in * *"],
            ["allow out x *", "allow out x tcp:127.0.0.1:80"],
            ["allow out x tcp:0.0.0.0/0:*", "allow out x tcp:169.254.0.0/16:80"],
            ["allow out x tcp:h:1", "allow out x tcp:h:2"],
            ["allow out x tcp:h", "allow out x tcp:h:80"],
            ["allow out x tcp:*.h:1", "allow out x tcp:h:1"],
            ["allow out x tcp:h:1 for user:1", "allow out x tcp:h:1"],
            ["allow out x tcp:h:1 for user:1", "deny out x tcp:h:1 for user:1"],
            ["allow out x *:10.0.0.0/8:1", "deny out x *:10.1.0.0/16:1"],
            ["allow local x unix:y", "allow local x"],
            ["allow local x", "allow local x*"],
            ["allow in x *", "allow in x tcp:10.0.0.1"],
            ["allow in x *", "allow in x * for anonymous"],
            ["allow in x *", "deny in x tls:h"],
            ["deny out * *", "deny in * *"],
        ] {
            assert!(of_rules(&rules).is_empty(), "{rules:?}: {:?}", of_rules(&rules));
        }
    }

    #[test]
    fn a_rule_that_no_peer_can_match_is_named() {
        let help = "\n  help: write addresses, or `for anonymous` beside an address of *";
        let message = "ipcd.toml:2:1: the rule never matches: of such a peer nothing is proven but \
                       its address";
        for rule in [
            "allow in x tcp:*",
            "allow in x tcp:example.com",
            "allow in x tcp,udp:h",
            "allow in x tls:h for anonymous",
        ] {
            assert_eq!(of_rules(&[rule]), [format!("{message}{help}")], "{rule}");
        }
        for rule in [
            "allow in x *",
            "allow in x tcp:* for anonymous",
            "allow in x tcp:10.0.0.1",
            "allow in x tcp:h,tls:h",
            "deny in x tcp:h",
        ] {
            assert!(of_rules(&[rule]).is_empty(), "{rule}");
        }
    }

    #[test]
    fn letting_everything_pass_is_named() {
        for (rule, direction) in [
            ("permissive out * *", "out"),
            ("permissive in * any", "in"),
            ("permissive local any", "local"),
        ] {
            let expected =
                format!("ipcd.toml:2:1: the rule lets everything pass in direction {direction}");
            assert_eq!(of_rules(&[rule]), [expected]);
        }
        for rule in ["permissive out * tcp", "permissive local x", "permissive local * for user:1"]
        {
            assert!(of_rules(&[rule]).is_empty(), "{rule}");
        }
    }

    #[test]
    fn a_redirect_that_leads_nowhere_or_is_never_used_is_named() {
        assert_eq!(
            warnings("redirects.db = 'tls://u:CANARYP@h/x'"),
            ["ipcd.toml:1:11: db leads to tls:h:9001/x, which no rule allows\n  \
              help: allow out db tls:h:9001"]
        );
        for rule in
            ["allow out other tls:h", "permissive out * *", "allow out db *:10.0.0.0/8:9001"]
        {
            let text = format!("rules = '{rule}'\nredirects.db = 'tls://h/x'");
            let found = warnings(&text);
            assert!(!found.iter().any(|warning| warning.contains("leads to")), "{found:?}");
        }
        let twice = "redirect = [{ from = 'a', to = 'b' }, { from = 'a', to = 'c' }]";
        assert_eq!(
            warnings(twice),
            ["ipcd.toml:1:39: the redirect is never used: ipcd.toml:1 stands before it"]
        );
        let canary =
            "redirect = [{ from = 'a', to = 'b', for = 'user:1' }, { from = 'a', to = 'c' }]";
        assert!(warnings(canary).is_empty());
    }
}
