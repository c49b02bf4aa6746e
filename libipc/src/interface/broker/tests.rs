use super::*;

fn target() -> String {
    "tcp://h:1".to_owned()
}

fn reason() -> String {
    "so it is".to_owned()
}

fn of_the_target() -> [(BrokerError, &'static str); 7] {
    let (retry, rule, cure) = (false, None, None);
    let denied = BrokerError::Denied { target: target(), rule, reason: reason(), cure, retry };
    let unreachable = BrokerError::Unreachable { target: target(), reason: reason(), retry };
    let missing = BrokerError::TransportMissing {
        target: target(),
        transport: "tcpd".into(),
        cure: "start it".into(),
    };
    let late = BrokerError::TimedOut { target: target(), waited_ms: 7 };
    let untrusted = BrokerError::Untrusted { target: target(), reason: reason() };
    let protocol = BrokerError::Protocol { target: target(), reason: reason() };
    [
        (denied, "denied: so it is"),
        (unreachable, "unreachable: tcp://h:1: so it is"),
        (
            BrokerError::Refused { target: target(), reason: reason(), retry },
            "refused: tcp://h:1: so it is",
        ),
        (late, "timed out: tcp://h:1 did not answer within 7 ms"),
        (missing, "cannot connect: tcpd does not run"),
        (untrusted, "untrusted: tcp://h:1: so it is"),
        (protocol, "protocol error: tcp://h:1: so it is"),
    ]
}

fn of_the_request() -> [(BrokerError, &'static str); 5] {
    let unknown = BrokerError::UnknownService { service: "x".into(), known: Vec::new() };
    let busy = BrokerError::Busy { limit: "clients".into(), most: 9, retry: true };
    let invalid = BrokerError::InvalidRequest { field: "take".into(), reason: reason() };
    [
        (unknown, "unknown service: nothing answers here"),
        (BrokerError::Unauthenticated { reason: reason() }, "not authenticated: so it is"),
        (busy, "busy: the limit clients (9) is reached"),
        (invalid, "invalid request: take: so it is"),
        (BrokerError::Internal { reason: reason() }, "the broker failed: so it is"),
    ]
}

#[test]
fn each_error_says_what_it_is_about() {
    for (error, said) in of_the_target().into_iter().chain(of_the_request()) {
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn what_a_service_could_be_had_by_is_said_without_words_of_ours() {
    for (possible, said) in [
        (&[][..], "the service cannot be handed over"),
        (&[Handoff::Upgrade], "the program would have to take the connection that it asked on"),
        (
            &[Handoff::Door, Handoff::Unknown, Handoff::Descriptor],
            "the program would have to take the service's own socket or a connected socket",
        ),
    ] {
        let error = BrokerError::NoHandoff { target: target(), possible: possible.to_vec() };
        assert_eq!(error.to_string(), format!("no common way: {said}"));
    }
}
