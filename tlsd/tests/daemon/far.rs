//! Far ends that are not ours: TLS by the library's other interface.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::authority::{Issuer, Shown};
use crate::process::PATIENCE;

/// What is done over a connection; what went wrong with TLS, if it did.
pub(crate) type Talk = JoinHandle<Result<String, String>>;

/// The settings of a server that shows this.
pub(crate) fn server_config(shown: &Shown) -> ServerConfig {
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(shown.chain.clone(), shown.key_der())
        .unwrap()
}

/// The settings of a client that trusts the authority, and shows something or nothing.
pub(crate) fn client_config(issuer: &Issuer, shown: Option<&Shown>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match shown {
        Some(shown) => builder.with_client_auth_cert(shown.chain.clone(), shown.key_der()).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// A server in a thread that echoes what comes, and the stream to it.
pub(crate) fn server(config: ServerConfig) -> (UnixStream, Talk) {
    let (near, far) = pair();
    let talk = std::thread::spawn(move || {
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut far = far;
        let mut stream = rustls::Stream::new(&mut connection, &mut far);
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok("ended".to_owned()),
                Ok(count) => {
                    stream.write_all(&buffer[..count]).map_err(|error| error.to_string())?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    });
    (near, talk)
}

/// A client in a thread that says `words` and reads the first thing that comes.
pub(crate) fn client(config: &Arc<ClientConfig>, words: &[u8]) -> (UnixStream, Talk) {
    let (near, far) = pair();
    let (config, words) = (Arc::clone(config), words.to_vec());
    let talk = std::thread::spawn(move || {
        let name = ServerName::try_from("host.example.com").unwrap();
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut far = far;
        let mut stream = rustls::Stream::new(&mut connection, &mut far);
        stream.write_all(&words).map_err(|error| error.to_string())?;
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
    });
    (near, talk)
}

pub(crate) fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (near, far)
}

/// A client in a thread that reads the first thing that comes; whether it resumed a session.
pub(crate) fn resuming(config: &Arc<ClientConfig>) -> (UnixStream, JoinHandle<bool>) {
    let (near, far) = pair();
    let config = Arc::clone(config);
    let talk = std::thread::spawn(move || {
        let name = ServerName::try_from("host.example.com").unwrap();
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut far = far;
        let mut stream = rustls::Stream::new(&mut connection, &mut far);
        stream.read_exact(&mut [0; 7]).unwrap();
        connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    });
    (near, talk)
}
