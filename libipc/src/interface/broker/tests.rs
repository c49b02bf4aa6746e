use super::*;

#[test]
fn each_error_says_what_it_is_about() {
    let target = || "tcp://h:1".to_owned();
    let reason = || "so it is".to_owned();
    let way = |possible: &[Handoff]| BrokerError::NoHandoff {
        target: target(),
        possible: possible.to_vec(),
    };
    for (error, said) in [
        (
            BrokerError::Denied {
                target: target(),
                rule: None,
                reason: reason(),
                cure: None,
                retry: false,
            },
            "denied: so it is",
        ),
        (
            BrokerError::UnknownService { service: "x".into(), known: Vec::new() },
            "unknown service: nothing answers here",
        ),
        (
            BrokerError::Unreachable { target: target(), reason: reason(), retry: true },
            "unreachable: tcp://h:1: so it is",
        ),
        (
            BrokerError::Refused { target: target(), reason: reason(), retry: true },
            "refused: tcp://h:1: so it is",
        ),
        (
            BrokerError::TimedOut { target: target(), waited_ms: 7 },
            "timed out: tcp://h:1 did not answer within 7 ms",
        ),
        (
            BrokerError::TransportMissing {
                target: target(),
                transport: "tcpd".into(),
                cure: "start it".into(),
            },
            "cannot connect: tcpd does not run",
        ),
        (
            BrokerError::Untrusted { target: target(), reason: reason() },
            "untrusted: tcp://h:1: so it is",
        ),
        (BrokerError::Unauthenticated { reason: reason() }, "not authenticated: so it is"),
        (
            BrokerError::Busy { limit: "clients".into(), most: 9, retry: true },
            "busy: the limit clients (9) is reached",
        ),
        (
            BrokerError::Protocol { target: target(), reason: reason() },
            "protocol error: tcp://h:1: so it is",
        ),
        (way(&[]), "no common way: the service cannot be handed over"),
        (
            way(&[Handoff::Upgrade]),
            "no common way: the program would have to take the connection that it asked on",
        ),
        (
            way(&[Handoff::Door, Handoff::Unknown, Handoff::Descriptor]),
            "no common way: the program would have to take the service's own socket or a \
             connected socket",
        ),
        (
            BrokerError::InvalidRequest { field: "take".into(), reason: reason() },
            "invalid request: take: so it is",
        ),
        (BrokerError::Internal { reason: reason() }, "the broker failed: so it is"),
    ] {
        assert_eq!(error.to_string(), said);
    }
}
