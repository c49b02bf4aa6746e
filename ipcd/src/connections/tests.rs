use libipc::identity::{LocalIdentity, RemoteIdentity};
use libipc::name::ServiceName;
use policy::rule::Direction;
use policy::target::Target;

use super::*;

const MOST: Most = Most { all: 4, per_user: 2 };

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn entry(service: &str, uid: u32, pid: u32, carried: Carried) -> Entry {
    let who = LocalIdentity { pid: Some(pid), uid: Some(uid), ..LocalIdentity::default() };
    Entry {
        asked: name(service),
        service: name(service),
        target: Target::Local(name(service)),
        address: None,
        direction: Direction::Local,
        rule: String::new(),
        who: Identity::Local(who),
        carried,
        opened: Instant::now(),
        times: 1,
        revision: 1,
    }
}

fn socket(uid: u32, pid: u32) -> Entry {
    entry("db", uid, pid, Carried::Socket { number: None })
}

fn relay(id: u64) -> Entry {
    let address = "192.0.2.1".parse().unwrap();
    let who = RemoteIdentity { scheme: "tls".into(), address, names: Vec::new() };
    let carried = Carried::Relayed { daemon: "tls".into(), id };
    Entry { who: Identity::Remote(who), ..entry("db", 0, 0, carried) }
}

fn ids(connections: &Connections) -> Vec<u64> {
    connections.iter().map(|(id, _)| id.0).collect()
}

#[test]
fn a_right_that_a_process_has_already_keeps_its_number_and_counts() {
    let now = Instant::now();
    let mut connections = Connections::default();
    let first = connections.begin(entry("db", 1, 10, Carried::Name), MOST, now);
    let again = Entry { revision: 2, ..entry("db", 1, 10, Carried::Name) };
    assert_eq!(connections.begin(again, MOST, now), first);
    let known = connections.get(first).unwrap();
    assert_eq!((known.times, known.revision), (2, 2));
    let other = connections.begin(entry("db", 1, 11, Carried::Name), MOST, now);
    assert_ne!(other, first);
    connections.end(first);
    assert_ne!(connections.begin(entry("db", 1, 10, Carried::Name), MOST, now), first);
}

#[test]
fn at_the_limit_of_a_user_his_oldest_is_forgotten_and_nobody_elses() {
    let now = Instant::now();
    let mut connections = Connections::default();
    connections.begin(socket(2, 20), MOST, now);
    for pid in 10..15 {
        connections.begin(socket(1, pid), MOST, now);
    }
    assert_eq!(ids(&connections), [1, 5, 6]);
    assert_eq!(connections.forgotten(), 3);
    assert_eq!((connections.held(), connections.held_by_one()), (3, Some((Some(1), 2))));
}

#[test]
fn at_the_limit_of_all_whoever_has_most_loses_his_oldest_and_relays_stay() {
    let now = Instant::now();
    let mut connections = Connections::default();
    for id in 1..=10 {
        connections.begin(relay(id), MOST, now);
    }
    for (uid, pid) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
        connections.begin(socket(uid, pid), MOST, now);
    }
    connections.begin(socket(4, 40), MOST, now);
    assert_eq!(ids(&connections)[10..], [12, 13, 14, 15]);
    assert_eq!((connections.forgotten(), connections.relayed_by("tls")), (1, 10));
}

#[test]
fn relays_end_by_report_or_with_their_daemon() {
    let now = Instant::now();
    let mut connections = Connections::default();
    for id in 1..=3 {
        connections.begin(relay(id), MOST, now);
    }
    connections.begin(socket(1, 10), MOST, now);
    connections.relay_ended("tls", 2);
    connections.relay_ended("tls", 2);
    connections.relay_ended("tcp", 1);
    assert_eq!(ids(&connections), [1, 3, 4]);
    connections.daemon_gone("tcp", &[]);
    connections.daemon_gone("tls", &[]);
    assert_eq!(ids(&connections), [4]);
}

#[test]
fn a_relay_whose_end_was_told_first_is_never_listed() {
    let now = Instant::now();
    let mut connections = Connections::default();
    for other in 0..2 * ENDED_EARLY_MOST as u64 {
        connections.relay_ended("tls", 1000 + other);
    }
    assert_eq!(connections.ended_early.len(), ENDED_EARLY_MOST);
    connections.relay_ended("tls", 7);
    connections.begin(relay(7), MOST, now);
    assert_eq!(connections.len(), 0);
    connections.begin(relay(7), MOST, now);
    assert_eq!(connections.len(), 1, "an end is of one relay");
    connections.daemon_gone("tls", &[]);
    assert!(connections.ended_early.is_empty());
}

#[test]
fn what_a_service_took_over_ends_with_it_or_with_the_client() {
    let now = Instant::now();
    let mut connections = Connections::default();
    let taken_over = |pid, registration| {
        let registration = ClientId(registration);
        entry("db", 1, pid, Carried::Registered { registration, id: 1, number: None })
    };
    let most = Most { all: 10, per_user: 10 };
    for (pid, registration) in [(10, 1), (11, 1), (10, 2), (11, 2)] {
        connections.begin(taken_over(pid, registration), most, now);
    }
    connections.registration_gone(ClientId(1));
    assert_eq!(ids(&connections), [3, 4]);
    connections.sweep_all(|process, _| *process != Process(10));
    assert_eq!(ids(&connections), [4]);
    connections.registration_gone(ClientId(2));
    assert!(connections.taken_over.is_empty() && connections.held.is_empty());
}

#[test]
fn what_a_process_held_ends_with_it_and_each_process_is_looked_at_once() {
    let now = Instant::now();
    let mut connections = Connections::default();
    let most = Most { all: 5000, per_user: 5000 };
    for number in 0..1000 {
        connections.begin(socket(1, 10 + number % 2), most, now);
    }
    connections.begin(relay(1), most, now);
    let mut looks = 0;
    connections.sweep_all(|process, _| {
        looks += 1;
        *process != Process(10)
    });
    assert_eq!((looks, connections.len()), (2, 501));
    // The other way: a little at a time, until nothing is left to look at.
    let mut when = connections.next_sweep().unwrap();
    connections.sweep(now, |_, _| false);
    assert_eq!(connections.len(), 501, "not before its time");
    while let Some(next) = connections.next_sweep() {
        when = when.max(next);
        let before = connections.len();
        connections.sweep(when, |_, _| false);
        assert!(before - connections.len() <= SWEEP_BATCH);
    }
    assert_eq!(connections.len(), 1, "the relay is no process's");
    assert!(connections.held.is_empty() && connections.names.is_empty());
}
