//! A broker with few descriptors. Alone in its program: as many as it may have open may be under way
//! from all programs of its user together, and other tests leave theirs uncollected.

use ipcd_tests::raw::Raw;
use ipcd_tests::{Host, Setup, until};

/// Descriptors that it has.
const FEW: u32 = 64;

/// Those who are there are served, those who come are told why they are not: the broker takes in
/// fewer clients than would leave it without descriptors.
#[test]
fn a_broker_with_few_descriptors_keeps_some_for_its_clients() {
    let setup = Setup { descriptors: Some(FEW), logs: true, ..Setup::default() };
    let host = Host::of(&setup).with_pongd("pongd");
    assert_eq!(host.ping("pongd", ""), "ping");
    let before = host.at_rest();
    let mut clients: Vec<_> = (0..200).map(|_| Raw::to(&host)).collect();
    let most = usize::try_from(FEW / 2).unwrap();
    for (index, client) in clients.iter_mut().enumerate() {
        // Who is turned away may be so before it has asked.
        let _closed = client.ask_for("pongd", None).is_err();
        let answer = client.answer();
        assert!(answer.is_some(), "client {index} hears nothing: {}", host.log());
        let answer = answer.unwrap();
        if index < most {
            assert!(answer["error"].is_null(), "{index}: {answer}");
        } else {
            assert_eq!(answer["parameters"]["limit"], "clients", "{index}: {answer}");
            assert_eq!(answer["parameters"]["most"], most);
        }
    }
    assert!(host.log().contains("few-descriptors"), "{}", host.log());
    drop(clients);
    until("there is room again", || host.ping("pongd", "") == "ping");
    host.until_back("its clients have gone", before);
}
