//! The same way encrypted: two hosts that know each other by their keys, as `ipc tls init` makes
//! and writes them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Demo, expect, print_indented, talk};
use crate::Failed;

/// What the hosts know of each other.
pub(super) struct Keys {
    /// Where host B is reached over TLS.
    pub(super) port: u16,
    /// The pin of host A's key.
    pin_a: String,
}

impl Keys {
    /// Makes the keys, with three commands.
    pub(super) fn exchange(demo: &Demo<'_>) -> Result<Self, Failed> {
        println!("\nTwo hosts come to know each other by their keys:");
        let pin_a = demo.init("a", &[])?;
        let pin_b = demo.init("b", &["--peer", &format!("localhost={pin_a}")])?;
        demo.init("a", &["--peer", &format!("localhost={pin_b}")])?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("[listen.fleet]\naddress = \"127.0.0.1:{port}\"\nthen = \"tls\"\n");
        fs::write(demo.config("b", "tcpd.toml"), listen)?;
        Ok(Self { port, pin_a })
    }

    /// The rule by which host B lets host A in.
    pub(super) fn rule_in(&self) -> String {
        format!("allow in pongd tls:* for pin:{}", self.pin_a)
    }

    /// The rule and the redirect by which host A goes there.
    pub(super) fn way_out(&self) -> (String, String) {
        let port = self.port;
        let rule = format!("allow out pongd-tls tls:localhost:{port}");
        (rule, format!("tls://localhost:{port}/pongd?certificate=host&trust=localhost"))
    }
}

impl Demo<'_> {
    /// A file of a host's configuration.
    pub(super) fn config(&self, host: &str, file: &str) -> PathBuf {
        self.place.path().join(format!("config-{host}/ipcd")).join(file)
    }

    /// `ipc tls init` on that host; the pin that it prints.
    fn init(&self, host: &str, words: &[&str]) -> Result<String, Failed> {
        let words = [&["tls", "init", "--user"], words].concat();
        let place = self.config(host, "");
        let base = place.parent().unwrap_or(Path::new("."));
        let mut command = Command::new(self.binaries.join("ipc"));
        let output = command.args(&words).env("XDG_CONFIG_HOME", base).output()?;
        expect(&output, "ipc tls init", 0)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("  {host}$ ipc {}", words.join(" "));
        let pin = said.lines().next().and_then(|line| line.rsplit(' ').next());
        pin.map(ToOwned::to_owned).ok_or_else(|| Failed("ipc tls init prints no pin".to_owned()))
    }

    /// A client reaches the same service encrypted, and holds nothing of TLS.
    pub(super) fn show_encrypted(&self, a: &Path) -> Result<(), Failed> {
        println!("\nThe same service over TLS, under a name that is led there:");
        println!("$ echo ping | ipc connect pongd-tls");
        let mut command = self.ipc(a, &["connect", "pongd-tls"]);
        command.env_remove("IPC_NETWORK");
        let echo = talk(command, b"ping\n")?;
        print_indented(&echo.stdout);
        expect(&echo, "connect: host B is not reached over TLS", 0)?;
        if echo.stdout != b"ping\n" {
            return Err(Failed("connect: the echo over TLS did not come back".to_owned()));
        }
        println!("  encrypted between the two tlsd, each of which has proven its key to the other");
        Ok(())
    }
}
