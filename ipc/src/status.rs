//! `ipc status`: how the broker does.

use std::process::ExitCode;

use libipc::interface::control::{STATUS, Status, Taken};

use crate::control;
use crate::format::{self, Format, Listing, span};
use crate::place::Place;
use crate::report::Report;

pub(crate) fn run(place: &Place, format: Format) -> Result<ExitCode, Report> {
    let status: Status = control::ask(place, "status", STATUS, &serde_json::json!({}))?;
    format::print(format, &status, &describe(&status))
}

fn describe(status: &Status) -> Listing {
    let Status { version, pid, instance, rundir, .. } = status;
    let mut listing =
        Listing::new(format!("ipcd {version} (pid {pid}), {instance} instance at {rundir}"));
    listing.add("running for", span(status.uptime_ms));
    listing.add("configuration", format!("revision {}, {} rules", status.revision, status.rules));
    listing.add("loaded", format!("{} ago", span(status.loaded_ms)));
    listing.add("from", status.origins.join(", "));
    if let Some(since) = status.refused_ms {
        let why = format!("{} ago; the older one stays until these are mended:", span(since));
        listing.add("newer refused", why);
    }
    for problem in &status.refused {
        listing.add("problem", control::place_of(problem));
        if let Some(help) = &problem.help {
            listing.add("help", help);
        }
    }
    for rule in &status.dormant {
        listing.add("matches nobody", rule);
    }
    listing.add("clients", status.clients.to_string());
    listing.add("connections", status.connections.to_string());
    for carrier in &status.transports {
        // A generation that finishes takes nothing new, and relays what it has.
        let state = if carrier.available || carrier.relays > 0 {
            format!("{} ({} relayed now)", carrier.name, carrier.relays)
        } else {
            format!("{} does not run", carrier.name)
        };
        listing.add("carries", state);
    }
    for taken in status.taken.iter().filter(|taken| taken.is_nearly_all()) {
        listing.add("nearly full", nearly_full(taken));
    }
    for counter in status.counters.iter().filter(|counter| counter.value > 0) {
        listing.add(&counter.name, counter.value.to_string());
    }
    listing
}

fn nearly_full(Taken { limit, used, most, user }: &Taken) -> String {
    let by = user.map(|user| format!(" by uid {user}")).unwrap_or_default();
    format!("{limit}: {used} of {most}{by}; raise it under [limits], or look who takes so many")
}

#[cfg(test)]
mod tests {
    use libipc::interface::control::{Problem, Transport};

    use super::*;
    use crate::format::Shown;

    fn taken(used: u64) -> Taken {
        Taken { limit: "clients-per-user".into(), used, most: 10, user: Some(33) }
    }

    #[test]
    fn a_limit_is_named_from_four_fifths_on_with_who_takes_it() {
        assert!(!taken(7).is_nearly_all() && taken(8).is_nearly_all());
        assert_eq!(
            nearly_full(&taken(8)),
            "clients-per-user: 8 of 10 by uid 33; raise it under [limits], or look who takes so \
             many"
        );
    }

    #[test]
    fn a_status_tells_what_is_not_in_order() {
        let problem = Problem {
            file: "ipcd.toml".into(),
            line: 3,
            column: 1,
            message: "unknown key".into(),
            help: Some("did you mean rules?".into()),
        };
        let status = Status {
            version: "1".into(),
            pid: 7,
            instance: "system".into(),
            rundir: "/run/ipc".into(),
            uptime_ms: 61_000,
            revision: 2,
            loaded_ms: 1_000,
            origins: vec!["ipcd.toml".into()],
            rules: 3,
            dormant: vec!["allow local x for user:nobody-here".into()],
            refused: vec![problem],
            refused_ms: Some(500),
            clients: 1,
            connections: 4,
            taken: vec![taken(1), taken(10)],
            transports: vec![
                Transport { name: "tls".into(), available: false, relays: 0 },
                Transport {
                    name: "tls, generation 1, finishing".into(),
                    available: false,
                    relays: 2,
                },
            ],
            counters: Vec::new(),
        };
        assert_eq!(
            describe(&status).table(),
            "ipcd 1 (pid 7), system instance at /run/ipc\n\
            \x20 running for     1 min 1 s\n\
            \x20 configuration   revision 2, 3 rules\n\
            \x20 loaded          1 s ago\n\
            \x20 from            ipcd.toml\n\
            \x20 newer refused   0 s ago; the older one stays until these are mended:\n\
            \x20 problem         ipcd.toml:3:1: unknown key\n\
            \x20 help            did you mean rules?\n\
            \x20 matches nobody  allow local x for user:nobody-here\n\
            \x20 clients         1\n\
            \x20 connections     4\n\
            \x20 carries         tls does not run\n\
            \x20 carries         tls, generation 1, finishing (2 relayed now)\n\
            \x20 nearly full     clients-per-user: 10 of 10 by uid 33; raise it under [limits], or \
            look who takes so many\n"
        );
    }
}
