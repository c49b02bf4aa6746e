//! The hello: which service is wanted on the far host, and the answer.
//!
//! Nothing here does I/O. Both sides read byte-exactly: what follows the hello or its answer
//! belongs to the service or the client, and stays in the socket.

use std::fmt;

use libipc::interface::transport::Hello;
use libipc::interface::tunnel::{OPEN, Open, Opened, TunnelError};
use libipc::name::{NameError, ServiceName};
use libipc::secret::Secret;
use libipc::varlink::{self, Bytes, CallFlags, Decoder};

/// Bytes of the longest hello, and of its answer.
pub const HELLO_BYTES_MOST: usize = 16 * 1024;

/// Hops between hosts that one request may make.
pub const HOPS_MOST: u32 = 8;

/// What a peer asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The service.
    pub service: ServiceName,
    /// Hops between hosts so far, the last one included.
    pub hops: u32,
    /// A key that it claims to have.
    pub key: Option<KeyProof>,
    /// A login that it brings. Nothing is proven by that.
    pub login: Option<Login>,
}

/// A login as a peer says it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The user.
    pub user: Secret,
    /// The secret.
    pub secret: Secret,
}

/// A key that both hosts have, and the proof of having it. It is base64 of whatever the
/// encapsulation makes of the key, of this connection and of the service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyProof {
    /// The name of the key.
    pub key: String,
    /// The proof.
    pub proof: String,
}

/// The bytes of a hello.
#[must_use]
pub fn ask(hello: &Hello, key: Option<KeyProof>) -> Bytes {
    let (key, proof) = key.map(|key| (key.key, key.proof)).unzip();
    let open = Open {
        service: hello.service.clone(),
        hops: Some(hello.hops),
        user: hello.user.clone(),
        secret: hello.secret.clone(),
        key,
        proof,
    };
    varlink::call(OPEN, &open, CallFlags { upgrade: true, ..CallFlags::default() })
}

/// The bytes of the answer yes, with the proof of having the key that the hello was about.
#[must_use]
pub fn yes(proof: Option<String>) -> Bytes {
    varlink::reply(&Opened { proof }, false)
}

/// The bytes of the answer no.
#[must_use]
pub fn no(refusal: TunnelError) -> Bytes {
    varlink::error(&refusal)
}

/// Collects a message byte-exactly from what can be seen of the stream.
#[derive(Debug)]
pub struct Reader(Decoder);

/// How many of the bytes seen are to be taken out of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Take(pub usize);

impl Default for Reader {
    fn default() -> Self {
        Self(Decoder::new(HELLO_BYTES_MOST))
    }
}

impl Reader {
    /// How many of the bytes at the front of the stream belong to the message.
    #[must_use]
    pub fn wants(&self, seen: &[u8]) -> Take {
        Take(seen.iter().position(|byte| *byte == 0).map_or(seen.len(), |end| end + 1))
    }

    /// Adds what was taken; the message, once it is whole.
    ///
    /// # Errors
    ///
    /// [`HelloError::TooLong`]; close the connection.
    pub fn push(&mut self, taken: &[u8]) -> Result<Option<Bytes>, HelloError> {
        self.0.push(taken);
        self.0.take().map_err(|_| HelloError::TooLong)
    }
}

/// Reads a whole hello.
///
/// # Errors
///
/// [`HelloError`]; the peer's fault.
pub fn read_asked(message: &[u8]) -> Result<Asked, HelloError> {
    let call = varlink::read_call(message).map_err(|_| HelloError::NotAHello)?;
    if call.method != OPEN || !call.upgrade {
        return Err(HelloError::NotAHello);
    }
    let open: Open =
        varlink::read_parameters(call.parameters).map_err(|_| HelloError::NotAHello)?;
    let service = ServiceName::new(&open.service).map_err(HelloError::Name)?;
    let hops = open.hops.unwrap_or(1);
    if hops > HOPS_MOST {
        return Err(HelloError::TooManyHops);
    }
    let key = match (open.key, open.proof) {
        (Some(key), Some(proof)) => Some(KeyProof { key, proof }),
        (None, None) => None,
        _ => return Err(HelloError::NotAHello),
    };
    let login = match (open.user, open.secret) {
        (Some(user), Some(secret)) => Some(Login { user, secret }),
        (None, None) => None,
        _ => return Err(HelloError::NotAHello),
    };
    Ok(Asked { service, hops, key, login })
}

/// Reads a whole hello that came unprotected, where no login may be.
///
/// # Errors
///
/// [`HelloError`]; the peer's fault.
pub fn read_unprotected(message: &[u8]) -> Result<Asked, HelloError> {
    let asked = read_asked(message)?;
    if asked.login.is_some() { Err(HelloError::LoginUnprotected) } else { Ok(asked) }
}

/// Reads a whole answer: yes, perhaps with a proof; or no with whether trying again can help.
///
/// # Errors
///
/// [`HelloError::NotAnAnswer`]; the peer's fault.
pub fn read_answer(message: &[u8]) -> Result<Result<Option<String>, TunnelError>, HelloError> {
    if let Ok(refused) = serde_json::from_slice::<TunnelError>(message) {
        return Ok(Err(refused));
    }
    let reply = varlink::read_reply(message).map_err(|_| HelloError::NotAnAnswer)?;
    if reply.error.is_some() || reply.parameters.is_none() {
        return Err(HelloError::NotAnAnswer);
    }
    let opened: Opened =
        varlink::read_parameters(reply.parameters).map_err(|_| HelloError::NotAnAnswer)?;
    Ok(Ok(opened.proof))
}

/// Why bytes of a peer are not what they should be.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HelloError {
    /// More than [`HELLO_BYTES_MOST`] bytes.
    TooLong,
    /// Not a hello.
    NotAHello,
    /// The service wanted has no valid name.
    Name(NameError),
    /// More than [`HOPS_MOST`] hops between hosts.
    TooManyHops,
    /// Not an answer to a hello.
    NotAnAnswer,
    /// The peer claims a key and has not proven that it has it.
    NotProven,
    /// A login that everybody on the way could read.
    LoginUnprotected,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "more than {HELLO_BYTES_MOST} bytes before the stream"),
            Self::NotAHello => f.write_str("the peer does not speak as a daemon of ipcd does"),
            Self::Name(error) => write!(f, "{error}"),
            Self::TooManyHops => write!(f, "more than {HOPS_MOST} hops between hosts"),
            Self::LoginUnprotected => f.write_str(
                "a login came unencrypted: it is known to others now, change its secret",
            ),
            Self::NotProven => f.write_str("the peer has not proven its key"),
            Self::NotAnAnswer => {
                f.write_str("the far end does not answer as a daemon of ipcd does")
            }
        }
    }
}

impl std::error::Error for HelloError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(service: &str) -> Hello {
        Hello { service: service.to_owned(), hops: 2, user: None, secret: None }
    }

    fn message(bytes: &Bytes) -> &[u8] {
        bytes.strip_suffix(b"\0").unwrap()
    }

    #[test]
    fn the_bytes_are_the_documented_ones() {
        assert_eq!(
            message(&ask(&hello("authd"), None)),
            br#"{"method":"org.ipcd.Tunnel.Open","parameters":{"service":"authd","hops":2},"upgrade":true}"#
        );
        assert_eq!(message(&yes(None)), br#"{"parameters":{}}"#);
        assert_eq!(
            message(&no(TunnelError::no(true))),
            br#"{"error":"org.ipcd.Tunnel.Refused","parameters":{"retry":true}}"#
        );
    }

    #[test]
    fn hello_and_answers_are_read_back() {
        let asked = read_asked(message(&ask(&hello("authd"), None))).unwrap();
        assert_eq!((asked.service.as_str(), asked.hops), ("authd", 2));
        assert_eq!(read_answer(message(&yes(None))), Ok(Ok(None)));
        assert_eq!(
            read_answer(message(&no(TunnelError::no(false)))),
            Ok(Err(TunnelError::no(false)))
        );
        let login = TunnelError::Refused { retry: false, login: Some(true) };
        assert_eq!(read_answer(message(&no(login))), Ok(Err(login)));
        let older = br#"{"error":"org.ipcd.Tunnel.Refused","parameters":{"retry":true}}"#;
        assert_eq!(read_answer(older), Ok(Err(TunnelError::no(true))));
    }

    #[test]
    fn a_login_travels_whole_and_is_read_only_where_it_is_protected() {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let brings = |user, secret| Hello { user, secret, ..hello("authd") };
        let sent = ask(&brings(secret("alice"), secret("s;cret \"\u{e9}")), None);
        let login = read_asked(message(&sent)).unwrap().login.unwrap();
        assert_eq!((login.user.expose(), login.secret.expose()), ("alice", "s;cret \"\u{e9}"));
        assert!(!format!("{login:?}").contains("alice"));
        assert_eq!(read_unprotected(message(&sent)), Err(HelloError::LoginUnprotected));
        assert_eq!(read_unprotected(message(&ask(&hello("authd"), None))).unwrap().login, None);
        for half in [brings(secret("alice"), None), brings(None, secret("x"))] {
            assert_eq!(read_asked(message(&ask(&half, None))), Err(HelloError::NotAHello));
        }
    }

    #[test]
    fn a_key_travels_with_its_proof_and_never_without() {
        let key = KeyProof { key: "fleet".to_owned(), proof: "cHJvb2Y=".to_owned() };
        let sent = ask(&hello("authd"), Some(key.clone()));
        assert_eq!(read_asked(message(&sent)).unwrap().key, Some(key));
        assert_eq!(read_answer(message(&yes(Some("x".to_owned())))), Ok(Ok(Some("x".to_owned()))));
        let alone = r#"{"method":"org.ipcd.Tunnel.Open","parameters":{"service":"a","key":"fleet"},"upgrade":true}"#;
        assert_eq!(read_asked(alone.as_bytes()), Err(HelloError::NotAHello));
        assert_eq!(HelloError::NotProven.to_string(), "the peer has not proven its key");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let asked = |text: &str| read_asked(text.as_bytes()).unwrap_err().to_string();
        let not_ours = "the peer does not speak as a daemon of ipcd does";
        assert_eq!(asked("GET / HTTP/1.1"), not_ours);
        assert_eq!(asked(r#"{"method":"org.ipcd.Tunnel.Open","parameters":{}}"#), not_ours);
        let many = r#"{"method":"org.ipcd.Tunnel.Open","parameters":{"service":"a","hops":9},"upgrade":true}"#;
        assert_eq!(asked(many), "more than 8 hops between hosts");
        let path = r#"{"method":"org.ipcd.Tunnel.Open","parameters":{"service":"../run/x"},"upgrade":true}"#;
        assert!(asked(path).starts_with("a service name has only"));
        assert_eq!(
            read_answer(b"ok").unwrap_err().to_string(),
            "the far end does not answer as a daemon of ipcd does"
        );
        let mut reader = Reader::default();
        let mut long = vec![b'x'; HELLO_BYTES_MOST];
        assert_eq!(reader.push(&long), Ok(None));
        assert_eq!(
            reader.push(b"x").unwrap_err().to_string(),
            "more than 16384 bytes before the stream"
        );
        long.push(0);
        assert!(Reader::default().push(&long).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn nothing_behind_the_message_is_taken(
            cuts in prop::collection::vec(1_usize..30, 0..20),
            behind in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let hello = ask(&hello("authd"), None);
            let mut stream = hello.to_vec();
            stream.extend_from_slice(&behind);
            let mut reader = Reader::default();
            let mut cuts = cuts.into_iter();
            let mut rest = stream.as_slice();
            let got = loop {
                let (seen, _) = rest.split_at(cuts.next().unwrap_or(9).min(rest.len()));
                let Take(count) = reader.wants(seen);
                let (taken, tail) = rest.split_at(count);
                rest = tail;
                if let Some(message) = reader.push(taken).unwrap() {
                    break message;
                }
            };
            prop_assert_eq!(got.as_slice(), message(&hello));
            prop_assert_eq!(rest, behind.as_slice());
        }
    }
}
