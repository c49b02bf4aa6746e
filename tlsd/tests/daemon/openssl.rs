//! OpenSSL's own server and client, over TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use crate::authority::Files;
use crate::process::{PATIENCE, Tlsd};

/// `openssl s_server`, ended when this is dropped.
pub(crate) struct Server {
    child: Child,
    _output: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Server {
    /// With the certificate `name` of the files, and these arguments.
    pub(crate) fn start(files: &Files, name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert"]);
        command.arg(files.path(&format!("{name}.crt"))).arg("-cert_chain");
        command.arg(files.path(&format!("{name}.crt"))).arg("-key");
        command.arg(files.path(&format!("{name}.key"))).args(["-rev"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ACCEPT") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "openssl ends");
        }
        let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        Self { child, _output: output, port }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.child.kill().is_err();
        let _reaped = self.child.wait().is_err();
    }
}

/// A connection that a client makes to us, and what it says about it when it ends.
pub(crate) struct Client {
    child: Child,
    input: ChildStdin,
    errors: BufReader<ChildStderr>,
    pub(crate) near: TcpStream,
}

impl Client {
    /// `openssl s_client` with these arguments, and what it is to say and do.
    pub(crate) fn start(ca: &Path, arguments: &[&str]) -> Self {
        let mut command = bounded();
        command.args(["openssl", "s_client", "-CAfile"]).arg(ca);
        command.args(arguments).arg("-connect");
        Self::of(command)
    }

    /// A program of Python's with the address as its last argument.
    pub(crate) fn python(program: &str) -> Self {
        let mut command = bounded();
        command.args(["python3", "-c", program]);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        command.arg(listener.local_addr().unwrap().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (near, _) = listener.accept().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { child, input, errors, near }
    }

    /// Gives it to a listener; the plain end, or why there is none.
    pub(crate) fn served(
        &mut self,
        tlsd: &Tlsd,
        listener: &str,
    ) -> Result<std::os::unix::net::UnixStream, String> {
        let mut call = tlsd.serve(listener, self.near.try_clone().unwrap());
        let answer = call.answer();
        if answer.said().is_empty() {
            Ok(call.attach(&answer.parameter("arrival")["id"]))
        } else {
            Err(answer.said())
        }
    }

    /// Writes what somebody types into it.
    pub(crate) fn say(&mut self, words: &[u8]) {
        self.input.write_all(words).unwrap();
    }

    /// Waits until it says that among its errors and remarks.
    pub(crate) fn until(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(self.errors.read_line(&mut line).unwrap() > 0, "it ended before {wanted}");
        }
    }

    /// Waits until it ends, for all that it says.
    pub(crate) fn said(mut self) -> String {
        let mut text = String::new();
        // What it prints need not be text.
        let mut bytes = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        self.errors.read_to_end(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes));
        text
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.child.kill().is_err();
        let _reaped = self.child.wait().is_err();
    }
}

/// A program that ends even if nobody ends its connection.
fn bounded() -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string());
    command
}

/// Runs `openssl` to its end.
pub(crate) fn openssl(arguments: &[&str], directory: &Path) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
