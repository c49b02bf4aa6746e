//! Rules that are called idle, against requests at random.

use std::collections::BTreeSet;

use super::{Effort, Neighbours, Use, use_of};
use libipc::name::ServiceName;

use crate::evaluate::evaluate;
use crate::fixture::{read_rules, rules};
use crate::query::{Query, Verdict};
use crate::rule::Direction;
use crate::rules::Rules;
use crate::sampling::{Dice, asked, asked_like, direction, query_with, rule, service};
use crate::scheme::Schemes;

/// What a request gets, without the name of the rule.
fn answer(rules: &Rules, query: &Query<'_>) -> (bool, bool) {
    match evaluate(rules, query) {
        Verdict::Allow { permissive, .. } => (true, permissive),
        Verdict::Deny { .. } => (false, false),
    }
}

/// Rules that lint says make no difference, as places in `lines`.
fn idle(lines: &[String], direction: Direction) -> BTreeSet<usize> {
    let rules = rules(&lines.join("\n"));
    let neighbours = Neighbours::of(rules.all(direction));
    let idle = |own: &usize| {
        let effort = Effort::new(u64::MAX);
        let found = use_of(&neighbours, *own, rules.schemes(), &effort).unwrap().0;
        found != Use::Matters
    };
    (0..lines.len()).filter(idle).collect()
}

/// Rules of which one of `count` requests shows that they make a difference.
fn shown(dice: &mut Dice, lines: &[String], direction: Direction, count: usize) -> BTreeSet<usize> {
    let all = rules(&lines.join("\n"));
    let without: Vec<Rules> = (0..lines.len())
        .map(|left_out| {
            let mut kept = read_rules(&lines.join("\n"), &Schemes::default()).unwrap();
            kept.remove(left_out);
            Rules::new(kept, Schemes::default())
        })
        .collect();
    let mut shown = BTreeSet::new();
    for _ in 0..count {
        let like = lines[dice.roll(lines.len())].as_str();
        let (service, asked) = if dice.pick(&[true, false]) {
            asked_like(dice, direction, like)
        } else {
            (service(dice).to_owned(), asked(dice, direction))
        };
        if ServiceName::new(&service).is_err() {
            continue;
        }
        query_with(&service, &asked, |query| {
            let verdict = evaluate(&all, query);
            let Some(text) = verdict.rule() else { return };
            let place = all.all(direction).iter().position(|rule| *rule.text == *text);
            let Some(place) = place else { return };
            if !shown.contains(&place) && answer(&all, query) != answer(&without[place], query) {
                shown.insert(place);
            }
        });
    }
    shown
}

/// For each of `configurations`: no request shows that a rule matters which is called idle, and of
/// a rule that is not called idle some request shows that it matters.
fn compare(seed: u64, configurations: usize, requests: usize) -> usize {
    let mut dice = Dice::new(seed);
    let mut unseen = 0;
    for _ in 0..configurations {
        let direction = direction(&mut dice);
        let count = dice.pick(&[2, 3, 4, 5]);
        let lines: Vec<String> = (0..count).map(|_| rule(&mut dice, direction)).collect();
        let idle = idle(&lines, direction);
        let mut shown = shown(&mut dice, &lines, direction, requests);
        if let Some(last) = (0..lines.len()).find(|line| is_last_word(&lines[*line])) {
            shown.insert(last);
        }
        let wrong: Vec<_> = idle.intersection(&shown).map(|line| &lines[*line]).collect();
        assert!(wrong.is_empty(), "called idle, and is not: {wrong:#?} of {lines:#?}");
        let silent = (0..lines.len()).filter(|line| !idle.contains(line) && !shown.contains(line));
        let silent: Vec<_> = silent.map(|line| &lines[line]).collect();
        if !silent.is_empty() {
            unseen += 1;
            println!("no request showed that {silent:#?} of {lines:#?} matters");
        }
    }
    unseen
}

fn is_last_word(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    let everywhere = words.get(3).is_none_or(|places| {
        places.split(',').any(|one| one == "*" || one == "*:*" || one == "*:*:*")
    });
    words[0] == "deny" && words[2] == "*" && everywhere && !line.contains(" for ")
}

#[test]
fn a_rule_is_called_idle_exactly_if_no_request_needs_it() {
    // Few requests are tried for each configuration, so that some needs go unseen.
    let unseen = compare(1, 120, 2_000);
    assert!(unseen <= 6, "{unseen}");
}

/// The full number, for `cargo test --release -p ipcd-policy -- --ignored`.
#[test]
#[ignore = "a minute, optimised: 100 configurations, a million requests each"]
fn a_rule_is_called_idle_exactly_if_none_of_a_million_requests_needs_it() {
    assert_eq!(compare(2, 100, 1_000_000), 0);
}
