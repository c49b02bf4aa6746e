//! Servers of others that speak TLS, as Debian has them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::tls::Files;
use crate::unmodified::{allow_all, as_postgres, postgres};
use crate::{Daemon, free_port, has, installed, is_root, outcome, until};

/// A server, and its port.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub daemon: Daemon,
    /// The port.
    pub port: u16,
    _place: Option<tempfile::TempDir>,
}

/// `openssl s_server` with these arguments, on a port of its own. It says `ACCEPT` before it
/// listens to anybody.
#[must_use]
pub fn openssl(files: &Files, arguments: &[&str], directory: Option<&PathBuf>) -> Server {
    let port = free_port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert"]);
    command.arg(&files.chain).arg("-key").arg(&files.key).args(arguments);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("openssl");
    drain_behind(&mut child, "ACCEPT");
    Server { daemon: Daemon(child), port, _place: None }
}

/// Waits for a line of the child, and lets it say what it likes from then on.
fn drain_behind(child: &mut Child, wanted: &str) {
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with(wanted) {
        line.clear();
        assert!(output.read_line(&mut line).expect("a line") > 0, "the server ends: {line}");
    }
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
}

/// PostgreSQL that lets in whoever comes by TLS, and nobody else; `None` if the machine lacks
/// something for it.
#[must_use]
pub fn postgresql(files: &Files) -> Option<Server> {
    let is_there = is_root() && postgres("postgres").is_some() && installed("psql").is_some();
    if !has("root and PostgreSQL", is_there) {
        return None;
    }
    let place = tempfile::tempdir().expect("a directory");
    allow_all(place.path());
    let (data, port) = (place.path().join("db"), free_port());
    let setpriv = || Command::new(installed("setpriv").expect("util-linux"));
    let mut init = as_postgres(&mut setpriv());
    init.arg(postgres("initdb").expect("it was there"));
    init.args(["--no-sync", "--auth=trust", "--no-locale", "-D"]).arg(&data);
    assert_eq!(outcome(&mut init).0, 0, "initdb");
    fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").expect("a file");
    for (from, to, mode) in [(&files.chain, "server.crt", 0o644), (&files.key, "server.key", 0o600)]
    {
        let to = data.join(to);
        fs::copy(from, &to).expect("a copy");
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).expect("its mode");
        let owner = fs::metadata(&data).map(|data| std::os::unix::fs::MetadataExt::uid(&data));
        chown(&to, owner.ok(), None).expect("its owner");
    }
    let mut command = as_postgres(&mut setpriv());
    command.arg(postgres("postgres").expect("it was there")).arg("-D").arg(&data);
    command.args(["-c", "fsync=off", "-c", "ssl=on", "-c", "listen_addresses=127.0.0.1"]);
    command.args(["-p", &port.to_string(), "-k", ""]);
    let daemon = Daemon::start(&mut command);
    let mut ready = Command::new(postgres("pg_isready").expect("it was there"));
    ready.args(["-h", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null());
    let ready = std::cell::RefCell::new(ready);
    until("PostgreSQL is ready", || {
        ready.borrow_mut().status().is_ok_and(|status| status.success())
    });
    Some(Server { daemon, port, _place: Some(place) })
}

impl Server {
    /// PostgreSQL gives its shared memory back only if it is asked to end.
    pub fn quit(&mut self) {
        self.daemon.signal(nix::sys::signal::Signal::SIGQUIT);
        until("it has ended", || {
            !fs::exists(format!("/proc/{}/exe", self.daemon.pid())).unwrap_or(false)
        });
    }
}

/// A mail server that switches to TLS, and takes no mail without it; `None` if the machine lacks
/// it.
#[must_use]
pub fn mail(files: &Files) -> Option<Server> {
    if !has("aiosmtpd", installed("aiosmtpd").is_some()) {
        return None;
    }
    let port = free_port();
    let mut command = Command::new("aiosmtpd");
    command.args(["--nosetuid", "--listen", &format!("127.0.0.1:{port}"), "--tlscert"]);
    command.arg(&files.chain).arg("--tlskey").arg(&files.key);
    command.args(["--class", "aiosmtpd.handlers.Sink"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = Daemon::start(&mut command);
    until("the mail server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Server { daemon, port, _place: None })
}

/// An IMAP server that switches to TLS, and lets nobody in without it; `None` if the machine lacks
/// it.
#[must_use]
pub fn imap(files: &Files) -> Option<Server> {
    let dovecot = installed("dovecot").filter(|_| is_root());
    if !has("root and dovecot", dovecot.is_some()) {
        return None;
    }
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let (port, base) = (free_port(), place.path().display());
    let (chain, key) = (files.chain.display(), files.key.display());
    let config = format!(
        "base_dir = {base}/run\nstate_dir = {base}/state\nprotocols = imap\nlisten = 127.0.0.1\n\
         log_path = {base}/log\nssl = required\nssl_cert = <{chain}\nssl_key = <{key}\n\
         disable_plaintext_auth = yes\nmail_location = maildir:{base}/mail/%u\n\
         passdb {{\n driver = static\n args = password=secret\n}}\n\
         userdb {{\n driver = static\n args = uid=mail gid=mail home={base}/home\n}}\n\
         service imap-login {{\n inet_listener imap {{\n port = {port}\n }}\n \
         inet_listener imaps {{\n port = 0\n }}\n}}\n"
    );
    let file = place.path().join("dovecot.conf");
    fs::write(&file, config).expect("the configuration");
    let mut command = Command::new(dovecot.expect("it was there"));
    command.arg("-F").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = Daemon::start(&mut command);
    until("the IMAP server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Server { daemon, port, _place: Some(place) })
}

/// A server in a thread that says these bytes to whoever comes, once, and closes.
#[must_use]
pub fn blunt(words: &'static [u8]) -> u16 {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        // The client may go away at any time.
        let _gone = stream.write_all(words).is_err();
        if words.is_empty() {
            return;
        }
        let _gone = stream.read(&mut [0; 512]).is_err();
    });
    port
}

/// A server that says as much as anybody takes on each connection, and reads nothing.
#[must_use]
pub fn talker(files: &Files) -> Server {
    python(
        files,
        "
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.socket()
# So that little is on the way that nobody reads.
for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
    listener.setsockopt(socket.SOL_SOCKET, option, 16384)
listener.bind(('127.0.0.1', int(sys.argv[3])))
listener.listen(64)
def serve(plain):
    try:
        with context.wrap_socket(plain, server_side=True) as stream:
            while True:
                stream.sendall(bytes(16384))
    except OSError:
        pass
print('ready', flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
",
    )
}

/// A server that echoes what comes on any number of connections, and ends each properly when its
/// client does.
#[must_use]
pub fn echo(files: &Files) -> Server {
    const PROGRAM: &str = "
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(('127.0.0.1', int(sys.argv[3])), backlog=64)
def serve(plain):
    try:
        with context.wrap_socket(plain, server_side=True) as stream:
            while data := stream.recv(65536):
                stream.sendall(data)
            stream.unwrap()
    except OSError:
        pass
print('ready', flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";
    python(files, PROGRAM)
}

/// A server in Python that says `ready`, with a certificate, its key, and its port as arguments.
fn python(files: &Files, program: &str) -> Server {
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(&files.chain).arg(&files.key).arg(port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("python3");
    drain_behind(&mut child, "ready");
    Server { daemon: Daemon(child), port, _place: None }
}
