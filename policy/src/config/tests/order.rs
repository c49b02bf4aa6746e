//! Which of several texts counts, and which of their rules.

use super::*;

fn decided_by(sources: &Sources) -> String {
    let config = load_all(sources).unwrap().config;
    let (service, asker) = (&name("x"), &user(1));
    let query = crate::query::Query::Local { service, target: service, asker, owner: None };
    let verdict = crate::evaluate::evaluate(&config.rules, &query);
    verdict.rule().map_or("none".to_owned(), |rule| format!("{rule} at {}", rule.source()))
}

#[test]
fn the_command_line_outranks_files_and_a_lower_number_a_higher_one() {
    let command_line = vec![rule_argument("deny local y"), rule_argument("allow local x")];
    let first = file("ipcd.d/00-ceiling.toml", "rules = 'deny local x'");
    let second = file("ipcd.d/50-shop.toml", "\nrules = '''\n\n  permissive local x'''");
    let main = file("ipcd.toml", "rules = 'allow local *'");
    let mut sources = Sources { command_line, drop_ins: vec![first, second], main: Some(main) };
    assert_eq!(decided_by(&sources), "allow local x at command line, rule 2");
    sources.command_line.clear();
    assert_eq!(decided_by(&sources), "deny local x at ipcd.d/00-ceiling.toml:1");
    sources.drop_ins.remove(0);
    assert_eq!(decided_by(&sources), "permissive local x at ipcd.d/50-shop.toml:4");
    sources.drop_ins.clear();
    assert_eq!(decided_by(&sources), "allow local * at ipcd.toml:1");
}

/// attacks.md D17: the order is that of argv.
#[test]
fn rules_of_the_command_line_decide_in_their_order() {
    let rules = ["allow local x", "deny local *", "permissive local x"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let command_line = order.iter().map(|index| rule_argument(rules[*index])).collect();
        let sources = Sources { command_line, ..Sources::default() };
        let expected = format!("{} at command line, rule 1", rules[order[0]]);
        assert_eq!(decided_by(&sources), expected);
    }
}

#[test]
fn of_two_files_the_one_of_more_weight_counts() {
    let sources = Sources {
        command_line: vec![CommandLine::Redirect { from: "r".into(), to: "one".into() }],
        drop_ins: vec![file(
            "ipcd.d/10.toml",
            "limits.clients = 5\nservices.x.owner = '1'\nlog.decisions = 'none'\n\
                 redirects.r = 'two'\nadmin-groups = '5'\nschemes.s = ['a']\non-reload = 'revoke'",
        )],
        main: Some(file(
            "ipcd.toml",
            "limits = { clients = 6, dials = 7 }\nservices.x = { owner = '2', door = false }\n\
             log.decisions = 'all'\nredirects.r = 'three'\nadmin-groups = '6'\nschemes.s = ['b']\n\
             on-reload = 'keep'",
        )),
    };
    let config = load_all(&sources).unwrap().config;
    assert_eq!((config.limits.clients, config.limits.dials), (5, 7));
    let service = &config.services[&name("x")];
    assert_eq!((service.owner, service.door), (Some(1), true), "one file writes all of a service");
    assert_eq!(config.log_decisions, LogDecisions::None);
    assert_eq!(config.on_reload, OnReload::Revoke);
    assert_eq!(config.admin_gids, [5, 6], "groups of all files");
    assert_eq!(config.schemes().stack("s").unwrap(), ["a".into()]);
    let sources: Vec<_> =
        config.redirects.of("r").map(|redirect| redirect.source.to_string()).collect();
    assert_eq!(sources, ["command line, redirect 1", "ipcd.d/10.toml:4", "ipcd.toml:4"]);
}
