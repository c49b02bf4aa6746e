//! Two hosts: `far` offers pongd over TLS to whoever logs in, `near` asks for it.

use std::path::Path;

use ipcd_tests::tls::{Authority, Files};
use ipcd_tests::{Host, Setup, free_port};

/// Both hosts, which run until it is dropped.
pub(crate) struct Hosts {
    pub(crate) near: Host,
    pub(crate) far: Host,
    pub(crate) authority: Authority,
    pub(crate) port: u16,
}

/// What the far host's broker is configured to, besides its rule.
pub(crate) const AUTHD: &str = "log.decisions = 'all'\n[authentication]\nservice = 'authd'\n";

impl Hosts {
    /// Peers are let in to pongd by `rule`; `config` is the rest of the far broker's file.
    pub(crate) fn new(rule: &str, config: &str) -> Self {
        let authority = Authority::new();
        let port = free_port();
        let far = far(&format!("rules = '''\n{rule}\n'''\n{config}"), &authority, port);
        let far = far.with_pongd("pongd");
        let allowed = format!("allow out * tls:127.0.0.1:{port}");
        let near =
            Host::of(&Setup { arguments: &["--rule", &allowed], logs: true, ..Setup::default() });
        let near = near.with_tlsd(&dialling(&authority.certificate())).with_tcpd(None);
        Self { near, far, authority, port }
    }

    /// `IPC_NETWORK` that leads to pongd with this login.
    pub(crate) fn network(&self, login: &str) -> String {
        format!("pongd tls://{login}@127.0.0.1:{}/pongd", self.port)
    }

    /// What comes of asking for pongd with this login.
    pub(crate) fn ping(&self, login: &str) -> String {
        self.near.ping("pongd", &self.network(login))
    }

    /// What the near host is told, with its target.
    pub(crate) fn refused(&self, why: &str) -> String {
        format!("refused: tls:127.0.0.1:{}/pongd: the far host {why}", self.port)
    }
}

/// Waits until the broker of that host has written this down.
pub(crate) fn until_logged(host: &Host, text: &str) {
    ipcd_tests::until(text, || host.log().contains(text));
}

/// Waits until authd of that host has written this down.
pub(crate) fn until_authd_logged(host: &Host, text: &str) {
    ipcd_tests::until(text, || host.authd_log().contains(text));
}

/// A host with this configuration that offers its services over TLS to everybody.
pub(crate) fn far(config: &str, authority: &Authority, port: u16) -> Host {
    let files = authority.issue(&format!("far-{port}"), &["127.0.0.1"]);
    Host::of(&Setup { config, logs: true, ..Setup::default() })
        .with_tlsd(&listening(&files))
        .with_tcpd_of(&format!("[listen.open]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n"))
}

fn listening(files: &Files) -> String {
    format!("[listen.open]\ncertificate = 'host'\nclients = 'none'\n{}", files.table("host"))
}

/// A tlsd that believes this authority.
pub(crate) fn dialling(ca: &Path) -> String {
    format!("[dial]\ntrust = 'fleet'\n[trust.fleet]\nca = \"{}\"\n", ca.display())
}
