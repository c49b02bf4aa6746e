//! One end of a TLS connection, as a state machine that does no I/O.

use std::io;
use std::sync::Arc;

use libipc::interface::transport::{Hello, TransportError};
use libipc::varlink::Bytes;
use relay::codec::{Codec, Opened, Outgoing};
use relay::hello::{self, Asked, HelloError};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::EncryptError;
use rustls::{CommonState, Error, ProtocolVersion};

use crate::failure;
use crate::material::Proves;
use crate::names;
use crate::pin::Pin;
use crate::proving::Proving;
use crate::reception::{self, Reception};
use crate::starttls::{self, Dialogue, Progress};
use crate::verify::pin_of;

use self::step::{Step, Writing, take, write_one};

mod step;

/// Bytes that sealing adds to one record at most (RFC 8446, section 5.2, with a byte of padding
/// and a head).
const RECORD_OVERHEAD: usize = 5 + 1 + 255;

/// Plain bytes in one record at most.
const RECORD_BYTES: usize = 16 * 1024;

/// One end of a TLS connection.
pub(crate) struct Session {
    connection: Connection,
    expected: Expected,
    proving: Proving,
    observed: Observed,
    /// What the plain side hears first.
    welcome: Vec<u8>,
    phase: Phase,
}

/// What has to hold of a far end besides what its verifier says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The protocol that both ends have to agree on; any, if there is none.
    pub(crate) protocol: Option<Vec<u8>>,
    /// The key that it has to have; any, if there is none.
    pub(crate) pin: Option<Pin>,
    /// What it proves by what it shows.
    pub(crate) proves: Proves,
}

/// What a server that knows nothing of us is watched for.
#[derive(Default)]
pub(crate) struct Observed {
    /// What has to be said before TLS begins.
    pub(crate) greeting: Option<Dialogue>,
    /// Whether it has let us in.
    pub(crate) reception: Option<Arc<Reception>>,
}

enum Connection {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    /// The far end has not said a word.
    Begun,
    Handshake,
    Open,
    Failed,
}

impl Session {
    /// The client end, which begins with a greeting if there is one.
    pub(crate) fn client(
        connection: UnbufferedClientConnection,
        expected: Expected,
        proving: Proving,
        observed: Observed,
    ) -> Self {
        let connection = Connection::Client(Box::new(connection));
        Self { connection, expected, proving, observed, welcome: Vec::new(), phase: Phase::Begun }
    }

    /// The server end.
    pub(crate) fn server(
        connection: UnbufferedServerConnection,
        expected: Expected,
        proving: Proving,
    ) -> Self {
        let connection = Connection::Server(Box::new(connection));
        let (observed, welcome) = (Observed::default(), Vec::new());
        Self { connection, expected, proving, observed, welcome, phase: Phase::Begun }
    }

    fn state(&self) -> &CommonState {
        match &self.connection {
            Connection::Client(connection) => connection,
            Connection::Server(connection) => connection,
        }
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing,
    ) -> (usize, Result<Step, Error>) {
        match &mut self.connection {
            Connection::Client(connection) => {
                take(connection.process_tls_records(incoming), plain, outgoing)
            }
            Connection::Server(connection) => {
                take(connection.process_tls_records(incoming), plain, outgoing)
            }
        }
    }

    /// Handles all that has come; how much of it that was, also if it went wrong.
    fn process(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing,
    ) -> (Opened, Result<(), Error>) {
        let mut opened = Opened::default();
        loop {
            let rest = incoming.get_mut(opened.used..).unwrap_or_default();
            let (used, step) = self.step(rest, plain, outgoing);
            opened.used += used;
            match step {
                Ok(Step::Next) => {}
                Ok(Step::Blocked) => return (opened, Ok(())),
                Ok(Step::End) => opened.is_end = true,
                Err(error) => return (opened, Err(error)),
            }
        }
    }

    /// Begins TLS, behind a greeting.
    fn begin(&mut self, outgoing: &mut Outgoing) -> Result<(), TransportError> {
        let (_, begun) = self.process(&mut [], &mut Vec::new(), outgoing);
        begun.map_err(|error| failure::of_server(&error))
    }

    /// Has the far end told why: the library has that ready after an error, and must not be shown
    /// anything more.
    fn add_alert(&mut self, outgoing: &mut Outgoing) {
        self.phase = Phase::Failed;
        while self.state().wants_write() {
            if self.step(&mut [], &mut Vec::new(), outgoing).1.is_err() {
                return;
            }
        }
    }

    fn check_expected(&self) -> Result<(), TransportError> {
        if let Some(wanted) = &self.expected.protocol
            && self.state().alpn_protocol() != Some(wanted)
        {
            return Err(failure::other_protocol(wanted));
        }
        if let Some(wanted) = self.expected.pin {
            let is_bare = self.expected.proves == Proves::BareKey;
            let shown = self.shown().map(|shown| pin_of(shown, is_bare));
            if !matches!(shown, Some(Ok(pin)) if pin == wanted) {
                return Err(failure::not_pinned());
            }
        }
        Ok(())
    }

    /// What the far end has shown first: its own certificate, or its key.
    fn shown(&self) -> Option<&CertificateDer<'static>> {
        self.state().peer_certificates().and_then(<[_]>::first)
    }

    fn is_client(&self) -> bool {
        matches!(self.connection, Connection::Client(_))
    }

    /// Whether we have greeted a server with TLS, and it has not said a word.
    fn is_greeting(&self) -> bool {
        self.phase == Phase::Begun && self.is_client() && self.observed.greeting.is_none()
    }

    /// Whether a server wants to know who we are, and has not said since what it makes of that.
    fn has_asked_for_certificate(&self) -> bool {
        self.observed.reception.as_ref().is_some_and(|reception| reception.is_open())
    }

    /// Does `write` as soon as sealing is possible, which it always is when the session is open.
    fn writing(
        &mut self,
        pending: &mut [u8],
        outgoing: &mut Outgoing,
        mut write: impl FnMut(&mut dyn Writing, &mut Outgoing) -> Result<(), EncryptError>,
    ) -> Result<(), TransportError> {
        loop {
            let done = match &mut self.connection {
                Connection::Client(connection) => {
                    write_one(connection.process_tls_records(pending), outgoing, &mut write)
                }
                Connection::Server(connection) => {
                    write_one(connection.process_tls_records(pending), outgoing, &mut write)
                }
            };
            match done {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Codec for Session {
    fn open(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing,
    ) -> Result<Opened, TransportError> {
        if self.phase == Phase::Failed {
            return Err(failure::over());
        }
        if self.phase == Phase::Begun && !incoming.is_empty() {
            self.phase = Phase::Handshake;
        }
        if let Some(greeting) = &mut self.observed.greeting {
            let Progress { used, is_over } = greeting.advance(incoming, outgoing)?;
            if !is_over {
                return Ok(Opened { used, is_end: false });
            }
            self.welcome = greeting.welcome();
            self.observed.greeting = None;
            self.begin(outgoing)?;
            return Ok(Opened { used, is_end: false });
        }
        let hint = if self.phase == Phase::Handshake { starttls::hint(incoming) } else { None };
        let handled = reception::watched(|| self.process(incoming, plain, outgoing));
        let ((opened, processed), is_asked) = handled;
        let unused = incoming.get_mut(opened.used..).unwrap_or_default();
        if let Err(error) = processed {
            self.add_alert(outgoing);
            return Err(match hint {
                Some(hint) => failure::not_tls(hint),
                None if self.has_asked_for_certificate() => failure::of_asking_server(&error),
                None if self.is_client() => failure::of_server(&error),
                None => failure::of_peer(&error),
            });
        }
        if let Some(reception) = &self.observed.reception {
            reception.note(is_asked, !plain.is_empty());
        }
        if self.phase != Phase::Open && !self.state().is_handshaking() {
            if let Err(error) = self.check_expected() {
                self.finish(unused, outgoing);
                self.phase = Phase::Failed;
                return Err(error);
            }
            self.phase = Phase::Open;
            plain.splice(..0, std::mem::take(&mut self.welcome));
        }
        Ok(opened)
    }

    fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    fn may_be_refused(&self) -> bool {
        // Before TLS 1.3 the server's last word comes after the client's.
        let is_new = self.state().protocol_version() == Some(ProtocolVersion::TLSv1_3);
        is_new && self.observed.reception.as_ref().is_some_and(|reception| reception.is_open())
    }

    fn seal(
        &mut self,
        plain: &[u8],
        pending: &mut [u8],
        outgoing: &mut Outgoing,
    ) -> Result<(), TransportError> {
        let records = plain.len() / RECORD_BYTES + 2;
        let least = plain.len() + records * RECORD_OVERHEAD;
        self.writing(pending, outgoing, |traffic, outgoing| {
            let count = traffic.encrypt(plain, outgoing.room(least))?;
            outgoing.fill(count);
            Ok(())
        })
    }

    fn finish(&mut self, pending: &mut [u8], outgoing: &mut Outgoing) {
        let written = self.writing(pending, outgoing, |traffic, outgoing| {
            let count = traffic.close(outgoing.room(RECORD_OVERHEAD))?;
            outgoing.fill(count);
            Ok(())
        });
        // A connection that is over already ends without a word.
        let _over = written.is_err();
    }

    fn names(&self) -> Vec<String> {
        let shown = self.shown().map(|shown| names::proven(shown, self.expected.proves));
        let key = self.proving.name().map(|name| format!("key:{name}"));
        shown.into_iter().flatten().chain(key).collect()
    }

    fn silent(&self) -> TransportError {
        if self.is_greeting() {
            return failure::closed_at_greeting();
        }
        if self.has_asked_for_certificate() {
            return failure::closed_at_certificate();
        }
        if self.is_client() { relay::failure::silent() } else { failure::gone() }
    }

    fn broken(&self, error: &io::Error) -> TransportError {
        let is_reset =
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
        match relay::failure::unreachable(error) {
            _ if is_reset && self.has_asked_for_certificate() => failure::closed_at_certificate(),
            TransportError::Unreachable { reason, retry } if is_reset && self.is_greeting() => {
                TransportError::Unreachable { reason: failure::with_hint(&reason), retry }
            }
            other => other,
        }
    }

    fn ask(&mut self, hello: &Hello) -> Result<Bytes, TransportError> {
        Ok(hello::ask(hello, self.proving.ask(&hello.service)?))
    }

    fn answered(&mut self, message: &[u8]) -> Result<(), TransportError> {
        match hello::read_answer(message) {
            Ok(Ok(proof)) => self.proving.answered(proof.as_deref()),
            Ok(Err(refused)) => Err(relay::failure::refused(&refused)),
            Err(error) => Err(TransportError::Protocol { reason: error.to_string() }),
        }
    }

    fn asked(&mut self, message: &[u8]) -> Result<Asked, HelloError> {
        let asked = hello::read_asked(message)?;
        self.proving.asked(asked.key.as_ref(), &asked.service)?;
        Ok(asked)
    }

    fn yes(&self) -> Bytes {
        hello::yes(self.proving.yes())
    }
}
