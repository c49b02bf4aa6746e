use nix::libc;

use super::*;

fn system(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// Errors that are not the broker's, what they say, their number, and whether to try again.
#[test]
fn each_error_says_what_and_where_and_which_number_means_the_same() {
    let path = PathBuf::from("/run/ipc/ipc");
    let service = ServiceName::new("authd").unwrap();
    let address = || "/tmp/x".parse().unwrap();
    for (error, said, number, retry) in [
        (
            ConnectError::NoBroker { path: path.clone() },
            "no broker at /run/ipc/ipc",
            libc::ECONNREFUSED,
            true,
        ),
        (
            ConnectError::BrokerDown { path, error: system(libc::ECONNREFUSED) },
            "the broker at /run/ipc/ipc does not answer: Connection refused (os error 111)",
            libc::ECONNREFUSED,
            true,
        ),
        (ConnectError::BrokerGone, "the broker closed the connection", libc::ECONNREFUSED, true),
        (ConnectError::TimedOut, "timed out: the broker did not answer", libc::ETIMEDOUT, true),
        (
            ConnectError::Service { service, error: system(libc::ECONNREFUSED) },
            "refused: authd is known, but does not answer: Connection refused (os error 111)",
            libc::ECONNREFUSED,
            true,
        ),
        (
            ConnectError::Socket { address: address(), error: system(libc::ENOENT) },
            "/tmp/x: No such file or directory (os error 2)",
            libc::ENOENT,
            true,
        ),
        (
            ConnectError::Malformed(crate::varlink::read_reply(b"[").unwrap_err()),
            "the broker's answer: ",
            libc::EPROTO,
            false,
        ),
        (
            ConnectError::NoDescriptor,
            "the broker's answer brought no connection",
            libc::EPROTO,
            false,
        ),
        (
            ConnectError::NotAStream,
            "the service does not speak in streams",
            libc::EPROTONOSUPPORT,
            false,
        ),
        (
            ConnectError::UnknownError,
            "the broker answered with an unknown error",
            libc::EPROTO,
            false,
        ),
        (
            ConnectError::Wire(WireError::System(system(libc::EIO))),
            "the connection to the broker: ",
            libc::EPROTO,
            false,
        ),
        (ConnectError::System(system(libc::EMFILE)), "Too many open files", libc::EMFILE, false),
    ] {
        assert!(error.to_string().starts_with(said), "{error}");
        assert_eq!((error.errno(), error.retry()), (number, retry), "{error}");
        assert_eq!(io::Error::from(error).kind(), system(number).kind());
    }
}

#[test]
fn a_connection_that_ends_in_use_is_told_from_one_that_breaks_its_rules() {
    for (number, gone) in [(libc::EPIPE, true), (libc::ECONNRESET, true), (libc::EIO, false)] {
        let error = ConnectError::of_wire(WireError::System(system(number)));
        assert_eq!(matches!(error, ConnectError::BrokerGone), gone, "{number}");
        assert_eq!(matches!(error, ConnectError::System(_)), !gone, "{number}");
    }
}
