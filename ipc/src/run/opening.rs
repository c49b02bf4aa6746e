//! What a client of the proxy says before its bytes begin: HTTP `CONNECT`, or SOCKS 5.
//!
//! It opens nothing and reads no clock: bytes in, the next thing to do out. RFC 9110 section 9.3.6,
//! and RFC 1928.

use std::net::Ipv4Addr;

use libipc::ServiceName;
use policy::host::Host;

/// Bytes that a client may take for it.
const HEAD_BYTES_MOST: usize = 8 * 1024;

/// Which of the two a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manner {
    Http,
    Socks,
}

/// What to do next.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Receive more.
    Receive,
    /// Send this, and ask for the next step.
    Send(&'static [u8]),
    /// Ask for that place. What has come behind the question belongs to the service.
    Ask(Manner, Place, Vec<u8>),
    /// Send this, and close.
    Refuse(Vec<u8>),
}

/// A place that a client wants to reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The host in its canonical spelling, as a service is named.
    pub(super) service: ServiceName,
    port: u16,
}

impl Place {
    /// Whether a target, as the broker tells it, is this very host and port. One behind which a
    /// further service is asked for is another place.
    pub(super) fn is(&self, target: &str) -> bool {
        let rest = target.split_once(':').map(|(_, rest)| rest);
        rest == Some(&format!("{}:{}", self.service, self.port))
    }

    fn new(host: &str, port: u16) -> Option<Self> {
        let service = ServiceName::new(&Host::parse(host).ok()?.to_string()).ok()?;
        (port != 0).then_some(Self { service, port })
    }
}

/// The bytes of a client that has not come to its question.
#[derive(Debug, Default)]
pub(super) struct Opening {
    bytes: Vec<u8>,
    is_greeted: bool,
}

impl Opening {
    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What to do next.
    pub(super) fn next(&mut self) -> Step {
        let step = match self.bytes.first() {
            None => Step::Receive,
            Some(5) if !self.is_greeted => self.greeting(),
            Some(5) => self.request(),
            // Of whatever it is, SOCKS 4 or TLS, nothing here is an HTTP method's first letter.
            Some(byte) if !byte.is_ascii_uppercase() => Step::Refuse(Vec::new()),
            Some(_) => self.head(),
        };
        match step {
            Step::Receive if self.bytes.len() >= HEAD_BYTES_MOST => Step::Refuse(Vec::new()),
            step => step,
        }
    }

    /// SOCKS: version, count, that many ways to log in.
    fn greeting(&mut self) -> Step {
        let Some(count) = self.bytes.get(1) else { return Step::Receive };
        let end = 2 + usize::from(*count);
        let Some(ways) = self.bytes.get(2..end) else { return Step::Receive };
        if !ways.contains(&WITHOUT_LOGIN) {
            return Step::Refuse(vec![5, 0xff]);
        }
        self.bytes.drain(..end);
        self.is_greeted = true;
        Step::Send(&[5, WITHOUT_LOGIN])
    }

    /// SOCKS: version, command, 0, kind of address, address, port.
    fn request(&mut self) -> Step {
        let [_, command, _, kind, rest @ ..] = self.bytes.as_slice() else { return Step::Receive };
        if *command != COMMAND_CONNECT {
            return Step::Refuse(socks(COMMAND_UNKNOWN));
        }
        let (host, rest) = match kind {
            1 => match rest.split_at_checked(4) {
                Some((four, rest)) => (four_bytes(four), rest),
                None => return Step::Receive,
            },
            3 => match rest.split_first().map(|(count, rest)| (usize::from(*count), rest)) {
                Some((count, rest)) if rest.len() >= count => {
                    let (name, rest) = rest.split_at(count);
                    (String::from_utf8_lossy(name).into_owned(), rest)
                }
                _ => return Step::Receive,
            },
            _ => return Step::Refuse(socks(ADDRESS_UNKNOWN)),
        };
        let [high, low, behind @ ..] = rest else { return Step::Receive };
        match Place::new(&host, u16::from_be_bytes([*high, *low])) {
            Some(place) => Step::Ask(Manner::Socks, place, behind.to_vec()),
            None => Step::Refuse(socks(NOT_ALLOWED)),
        }
    }

    /// HTTP: lines up to an empty one.
    fn head(&mut self) -> Step {
        let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Step::Receive;
        };
        let (head, behind) = self.bytes.split_at(end + 4);
        let head = String::from_utf8_lossy(head);
        let line = head.lines().next().unwrap_or_default();
        let mut words = line.split(' ');
        let words = [words.next(), words.next(), words.next(), words.next()];
        let [Some(method), Some(authority), Some("HTTP/1.1" | "HTTP/1.0"), None] = words else {
            return Step::Refuse(http("400 Bad Request", "This is no request of HTTP/1.1."));
        };
        if method != "CONNECT" {
            let why = "This proxy knows CONNECT alone; ALL_PROXY=socks5h:// leads plain HTTP here.";
            return Step::Refuse(http("405 Method Not Allowed\r\nAllow: CONNECT", why));
        }
        let Some(place) = place(authority) else {
            let why = "No service can have that name: a host's name or IPv4 address, and a port, \
                       are wanted.";
            return Step::Refuse(http("400 Bad Request", why));
        };
        Step::Ask(Manner::Http, place, behind.to_vec())
    }
}

fn place(authority: &str) -> Option<Place> {
    let (host, port) = authority.rsplit_once(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    Place::new(host, port.parse().ok().filter(|_| is_number)?)
}

fn four_bytes(bytes: &[u8]) -> String {
    let four: [u8; 4] = bytes.try_into().unwrap_or_default();
    Ipv4Addr::from(four).to_string()
}

impl Manner {
    /// What a client hears whose connection is there.
    pub(super) fn granted(self) -> Vec<u8> {
        match self {
            Self::Http => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
            Self::Socks => socks(GRANTED),
        }
    }

    /// What a client hears who gets none: the exit code of `ipc connect`, and why.
    pub(super) fn refused(self, code: u8, why: &str) -> Vec<u8> {
        let (status, number) = match code {
            50 => ("403 Forbidden", NOT_ALLOWED),
            1 => ("502 Bad Gateway", REFUSED),
            124 => ("504 Gateway Timeout", TOO_LATE),
            3 | 69 => ("502 Bad Gateway", UNREACHABLE),
            _ => ("502 Bad Gateway", FAILED),
        };
        match self {
            Self::Http => http(status, why),
            Self::Socks => socks(number),
        }
    }
}

fn http(status: &str, why: &str) -> Vec<u8> {
    let length = why.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
    )
    .into_bytes()
}

/// An answer of SOCKS, which names no address of ours.
fn socks(code: u8) -> Vec<u8> {
    vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// Of the ways to log in.
const WITHOUT_LOGIN: u8 = 0;
const COMMAND_CONNECT: u8 = 1;
// Answers, RFC 1928 section 6.
const GRANTED: u8 = 0;
const FAILED: u8 = 1;
const NOT_ALLOWED: u8 = 2;
const UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const TOO_LATE: u8 = 6;
const COMMAND_UNKNOWN: u8 = 7;
const ADDRESS_UNKNOWN: u8 = 8;

#[cfg(test)]
mod tests;
