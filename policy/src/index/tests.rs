use crate::evaluate::oracle;
use crate::evaluate::{evaluate, evaluate_recording};
use crate::fixture::rules;
use crate::query::Query;
use crate::rule::Direction;
use crate::sampling::{Dice, asked, asked_like, direction, query_with, rule, service};

/// Compares the indexed evaluator with a walk through all rules, and with the oracle, over `count`
/// pairs of rules and requests; every configuration is asked 50 times.
fn compare(seed: u64, count: usize) {
    let mut dice = Dice::new(seed);
    for _ in 0..count / 50 {
        let direction = direction(&mut dice);
        let lines: Vec<String> =
            (0..dice.pick(&[1, 3, 6, 40])).map(|_| rule(&mut dice, direction)).collect();
        let rules = rules(&lines.join("\n"));
        for _ in 0..50 {
            let like = lines[dice.roll(lines.len())].as_str();
            let (service, asked) = if dice.pick(&[true, false]) {
                asked_like(&mut dice, direction, like)
            } else {
                (service(&mut dice).to_owned(), asked(&mut dice, direction))
            };
            if libipc::name::ServiceName::new(&service).is_err() {
                continue;
            }
            query_with(&service, &asked, |query| {
                let verdict = evaluate(&rules, query);
                let walked = evaluate_recording(&rules, query, &mut |_, _| {});
                assert_eq!(verdict, walked, "{service} {asked:?} {lines:#?}");
                let expected = oracle::allows(&lines, &service, &asked);
                assert_eq!(verdict.is_allow(), expected, "{service} {asked:?} {lines:#?}");
                if let Query::Out { service, target, asker, .. } = *query {
                    let query = Query::Out { service, target, asker, address: None };
                    let walked = evaluate_recording(&rules, &query, &mut |_, _| {});
                    assert_eq!(evaluate(&rules, &query), walked, "{query:?} {lines:#?}");
                }
            });
        }
    }
}

#[test]
fn what_is_found_quickly_is_what_the_rules_say() {
    compare(3, 20_000);
}

/// The full number, for `cargo test --release -p ipcd-policy -- --ignored`.
#[test]
#[ignore = "minutes, optimised: ten million rules and requests"]
fn ten_million_requests_get_what_the_rules_say() {
    compare(4, 10_000_000);
}

/// Where rules name many networks, long answers are remembered; each is what would be decided anew.
#[test]
fn what_is_remembered_is_what_would_be_decided() {
    let networks = (0..60).map(|n| format!("allow out a tcp:10.{n}.0.0/16:80\n"));
    let others = "deny out * tcp:h:80 for user:1\nallow out b tcp:*.d:1-90 for group:2\n\
                  deny out a *:10.3.3.0/24:* for unit:u.service\n";
    let rules = rules(&format!("{others}{}", networks.collect::<String>()));
    let mut dice = Dice::new(5);
    for _ in 0..2_000 {
        let host = dice.pick(&["h", "x.d", "d", "other", "another"]);
        let target = crate::fixture::remote(&format!("tcp://{host}:{}", dice.pick(&[80, 81])));
        let service = &crate::fixture::name(dice.pick(&["a", "b"]));
        let asker = &libipc::identity::LocalIdentity {
            gid: dice.pick(&[Some(1), Some(2)]),
            unit: Some(dice.pick(&["u.service", "v.service"]).to_owned()),
            ..crate::fixture::user(dice.pick(&[1, 2]))
        };
        let query = Query::Out { service, target: &target, address: None, asker };
        let walked = evaluate_recording(&rules, &query, &mut |_, _| {});
        assert_eq!(evaluate(&rules, &query), walked, "{query:?}");
    }
}

#[test]
fn every_shape_of_a_pattern_is_found() {
    let patterns =
        ["*", "a*", "*a", "*a*", "ab*cd", "*ab*cd*", "*a*b*c*", "abc*", "*abc", "*abcd*e"];
    let lines: Vec<String> =
        patterns.iter().map(|pattern| format!("allow local {pattern}")).collect();
    for name in ["a", "b", "ab", "abc", "abcd", "xabcdex", "xaybzc", "abxcd", "aabbcc", "zzabcdze"]
    {
        let mut found = Vec::new();
        for (line, pattern) in lines.iter().zip(patterns) {
            let rules = rules(line);
            let name = crate::fixture::name(name);
            let asker = &crate::fixture::user(7);
            let query = Query::Local { service: &name, target: &name, asker, owner: None };
            let is_found = evaluate(&rules, &query).is_allow();
            assert_eq!(is_found, crate::pattern::Pattern::new(pattern).matches(name.as_str()));
            found.push(is_found);
        }
        // All of them together, the last one first.
        let reversed: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
        let together = rules(&reversed.join("\n"));
        let name = crate::fixture::name(name);
        let asker = &crate::fixture::user(7);
        let query = Query::Local { service: &name, target: &name, asker, owner: None };
        let verdict = evaluate(&together, &query);
        let last = found.iter().rposition(|is_found| *is_found).unwrap();
        assert_eq!(verdict.rule().unwrap().as_str(), lines[last]);
    }
    assert_eq!(rules("").all(Direction::Local).len(), 0);
}
