//! One end of TLS against the library's other interface, its bytes cut anywhere and one of them
//! changed: every byte arrives and the end is seen, or there is an error; never other bytes.
#![no_main]

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use relay::codec::{Codec, Outgoing};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

#[expect(dead_code, reason = "the daemon uses all of it")]
#[path = "../../tlsd/src"]
mod tlsd {
    pub(crate) mod config;
    pub(crate) mod der;
    pub(crate) mod exporter;
    pub(crate) mod failure;
    pub(crate) mod files;
    pub(crate) mod key;
    pub(crate) mod material;
    pub(crate) mod names;
    pub(crate) mod pin;
    pub(crate) mod proving;
    pub(crate) mod reception;
    pub(crate) mod session;
    pub(crate) mod starttls;
    pub(crate) mod validity;
    pub(crate) mod verify;
}

use tlsd::{
    config, der, exporter, failure, files, key, material, names, pin, proving, reception, session,
    starttls, validity, verify,
};

/// Whose files are read, as the daemon has it.
const ACCOUNT: &str = "ipcd-tlsd";

/// Certificates, made once.
static CONFIGS: LazyLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).expect("a root");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    (Arc::new(client), Arc::new(server.expect("a certificate with its key")))
});

/// What ours and the other end say.
const OURS: &[u8] = &[b'o'; 40_000];
const THEIRS: &[u8] = &[b't'; 40_000];

/// The other end.
enum Other {
    Client(Box<ClientConnection>),
    Server(Box<ServerConnection>),
}

impl Other {
    fn common(&mut self) -> &mut rustls::CommonState {
        match self {
            Self::Client(connection) => connection,
            Self::Server(connection) => connection,
        }
    }

    /// Takes bytes; false if they were not right.
    fn take(&mut self, mut bytes: &[u8], heard: &mut Vec<u8>) -> bool {
        while !bytes.is_empty() {
            let (read, handled, mut reader) = match self {
                Self::Client(one) => {
                    (one.read_tls(&mut bytes), one.process_new_packets(), one.reader())
                }
                Self::Server(one) => {
                    (one.read_tls(&mut bytes), one.process_new_packets(), one.reader())
                }
            };
            if read.is_err() || handled.is_err() {
                return false;
            }
            // It takes nothing behind the word for the end.
            let is_over = matches!(read, Ok(0));
            // What has not come yet is no error, and the end is seen by the state.
            let _more = reader.read_to_end(heard).is_err();
            if is_over {
                return true;
            }
        }
        true
    }

    fn say(&mut self, words: &[u8]) {
        let written = match self {
            Self::Client(one) => one.writer().write(words),
            Self::Server(one) => one.writer().write(words),
        };
        written.expect("there is room");
        self.common().send_close_notify();
    }

    fn outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.common().wants_write() {
            let written = match self {
                Self::Client(one) => one.write_tls(&mut bytes),
                Self::Server(one) => one.write_tls(&mut bytes),
            };
            written.expect("a vector takes all");
        }
        bytes
    }
}

fn pair(is_client: bool) -> (session::Session, Other) {
    let (client, server) = &*CONFIGS;
    let name = ServerName::try_from("localhost").expect("a name");
    let nothing = || (session::Expected::default(), proving::Proving::Nothing);
    let (expected, proving) = nothing();
    if is_client {
        let ours = UnbufferedClientConnection::new(Arc::clone(client), name).expect("a client");
        let other = ServerConnection::new(Arc::clone(server)).expect("a server");
        let observed = session::Observed::default();
        let ours = session::Session::client(ours, expected, proving, observed);
        (ours, Other::Server(Box::new(other)))
    } else {
        let ours = UnbufferedServerConnection::new(Arc::clone(server)).expect("a server");
        let other = ClientConnection::new(Arc::clone(client), name).expect("a client");
        let ours = session::Session::server(ours, expected, proving);
        (ours, Other::Client(Box::new(other)))
    }
}

fuzz_target!(|input: (bool, Option<(u16, u8)>, &[u8])| {
    let (is_client, change, cuts) = input;
    let mut change = change.filter(|(_, by)| *by != 0);
    let is_changed = change.is_some();
    let (mut ours, mut other) = pair(is_client);
    let (mut kept, mut heard, mut said) = (Vec::new(), Vec::new(), Vec::new());
    let (mut is_ended, mut has_said, mut has_heard) = (false, false, false);
    let mut sizes = cuts.iter().map(|cut| usize::from(*cut) + 1).chain(std::iter::repeat(9999));
    let mut came = 0;
    let mut outgoing = Outgoing::default();
    if is_client {
        ours.open(&mut [], &mut Vec::new(), &mut outgoing).expect("it begins");
    }
    // Each turn brings all that one end says to the other: a handshake has few.
    for _ in 0..8 {
        if ours.is_open() && !has_said {
            ours.seal(OURS, &mut kept, &mut outgoing).expect("it is open");
            ours.finish(&mut kept, &mut outgoing);
            has_said = true;
        }
        let is_right = other.take(outgoing.bytes(), &mut said);
        assert!(is_right || is_changed);
        outgoing.clear();
        if !is_right {
            return;
        }
        if !other.common().is_handshaking() && !has_heard {
            other.say(THEIRS);
            has_heard = true;
        }
        let mut bytes = other.outgoing();
        if let Some((place, by)) = change {
            let here = usize::from(place).checked_sub(came).and_then(|at| bytes.get_mut(at));
            if let Some(byte) = here {
                *byte ^= by;
                change = None;
            }
        }
        came += bytes.len();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
            rest = later;
            kept.extend_from_slice(piece);
            let mut plain = Vec::new();
            match ours.open(&mut kept, &mut plain, &mut outgoing) {
                Ok(opened) => {
                    assert!(opened.used <= kept.len());
                    kept.drain(..opened.used);
                    is_ended |= opened.is_end;
                    heard.extend_from_slice(&plain);
                }
                Err(error) => {
                    assert!(is_changed, "{error:?}");
                    assert!(THEIRS.starts_with(&heard));
                    // Whatever it still has to say is no reason to break.
                    let mut last = Vec::new();
                    let _told = other.take(outgoing.bytes(), &mut last);
                    return;
                }
            }
            assert!(THEIRS.starts_with(&heard), "other bytes than were said");
        }
    }
    assert!(OURS.starts_with(&said));
    if !is_changed {
        assert!(heard == THEIRS && is_ended && said == OURS);
    }
});
