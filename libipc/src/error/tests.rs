use std::path::PathBuf;

use nix::libc;

use super::*;

fn system(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// An error, what it says, its number, and whether to try again.
type Row = (ConnectError, &'static str, i32, bool);

fn of_the_broker() -> [Row; 8] {
    let path = PathBuf::from("/run/ipc/ipc");
    let refused = libc::ECONNREFUSED;
    let down = ConnectError::BrokerDown { path: path.clone(), error: system(refused) };
    let malformed = ConnectError::Malformed(crate::varlink::read_reply(b"[").unwrap_err());
    let none = "the broker's answer brought no connection";
    let unknown = "the broker answered with an unknown error";
    let silent = "timed out: the broker did not answer";
    [
        (ConnectError::NoBroker { path }, "no broker at /run/ipc/ipc", refused, true),
        (
            down,
            "the broker at /run/ipc/ipc does not answer: Connection refused (os error 111)",
            refused,
            true,
        ),
        (ConnectError::BrokerGone, "the broker closed the connection", refused, true),
        (
            ConnectError::InheritedGone,
            "the broker has ended by way of which this program was started",
            refused,
            false,
        ),
        (ConnectError::TimedOut, silent, libc::ETIMEDOUT, true),
        (malformed, "the broker's answer: ", libc::EPROTO, false),
        (ConnectError::NoDescriptor, none, libc::EPROTO, false),
        (ConnectError::UnknownError, unknown, libc::EPROTO, false),
    ]
}

fn of_others() -> [Row; 5] {
    let refused = libc::ECONNREFUSED;
    let service = ServiceName::new("authd").unwrap();
    let known = ConnectError::Service { service, error: system(refused) };
    let socket =
        ConnectError::Socket { address: "/tmp/x".parse().unwrap(), error: system(libc::ENOENT) };
    let broken = ConnectError::Wire(WireError::System(system(libc::EIO)));
    let full = ConnectError::System(system(libc::EMFILE));
    let deaf = "the service does not speak in streams";
    [
        (
            known,
            "refused: authd is known, but does not answer: Connection refused (os error 111)",
            refused,
            true,
        ),
        (socket, "/tmp/x: No such file or directory (os error 2)", libc::ENOENT, true),
        (ConnectError::NotAStream, deaf, libc::EPROTONOSUPPORT, false),
        (broken, "the connection to the broker: ", libc::EPROTO, false),
        (full, "Too many open files", libc::EMFILE, false),
    ]
}

#[test]
fn each_error_says_what_and_where_and_which_number_means_the_same() {
    for (error, said, number, retry) in of_the_broker().into_iter().chain(of_others()) {
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
