//! Services of another host, over TLS: two hosts of our own, with certificates of one authority.

use std::io::{Read, Write};
use std::net::Shutdown;

use ipcd_tests::tls::Authority;
use ipcd_tests::{Host, PATIENCE, free_port};

/// Two hosts: `far` offers pongd over TLS to clients that its authority certifies and `rule` lets
/// in; `near` is certified as web1.example.com.
struct Pair {
    near: Host,
    _far: Host,
    authority: Authority,
    port: u16,
}

impl Pair {
    fn new(rule: &str) -> Self {
        let authority = Authority::new();
        let (ca, port) = (authority.certificate(), free_port());
        let trust = format!("[trust.fleet]\nca = \"{}\"\n", ca.display());
        let far_files = authority.issue("far", &["127.0.0.1", "localhost"]);
        let far = Host::new(&["--rule", rule])
            .with_pongd("pongd")
            .with_tlsd(&format!(
                "[listen.fleet]\ncertificate = 'host'\nclients = 'fleet'\n{trust}{}",
                far_files.table("host")
            ))
            .with_tcpd_of(&format!("[listen.fleet]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n"));
        let near_files = authority.issue("near", &["web1.example.com"]);
        let allowed = format!("allow out * tls:127.0.0.1:{port},tls:localhost:{port}");
        let near = Host::new(&["--rule", &allowed])
            .with_tlsd(&format!(
                "[dial]\ncertificate = 'host'\ntrust = 'fleet'\n{trust}{}",
                near_files.table("host")
            ))
            .with_tcpd(None);
        Self { near, _far: far, authority, port }
    }

    fn network(&self, host: &str) -> String {
        format!("pongd tls://{host}:{}/pongd", self.port)
    }
}

#[test]
fn a_client_of_a_proven_host_reaches_the_service() {
    let pair = Pair::new("allow in pongd tls:web1.example.com");
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(pair.near.ping("pongd", &pair.network(host)), "ping", "{host}");
    }
    let mut stream = pair.near.connect("pongd", &pair.network("127.0.0.1")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"half of it").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "half of it", "half of it may end, and the rest still comes");
}

#[test]
fn the_proven_name_decides() {
    let pair = Pair::new("allow in pongd tls:web2.example.com");
    let said = pair.near.ping("pongd", &pair.network("127.0.0.1"));
    assert_eq!(said, format!("refused: tls:127.0.0.1:{}/pongd: the far host says no", pair.port));
}

#[test]
fn a_peer_that_nobody_certifies_is_told_and_leaves_the_others_connected() {
    let pair = Pair::new("allow in pongd tls:web1.example.com");
    let other = Authority::new();
    let stranger = other.issue("stranger", &["web1.example.com"]);
    let allowed = format!("allow out * tls:127.0.0.1:{}", pair.port);
    let ca = pair.authority.certificate();
    let near = Host::new(&["--rule", &allowed])
        .with_tlsd(&format!(
            "[dial]\ncertificate = 'host'\ntrust = 'fleet'\n[trust.fleet]\nca = \"{}\"\n{}",
            ca.display(),
            stranger.table("host")
        ))
        .with_tcpd(None);
    let mut kept = pair.near.connect("pongd", &pair.network("127.0.0.1")).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    // As often as there can be threads that serve peers.
    for _ in 0..8 {
        let said = near.ping("pongd", &pair.network("127.0.0.1"));
        assert!(said.contains("may be from another authority of the same name"), "{said}");
    }
    kept.write_all(b"kept").unwrap();
    let mut answer = [0; 4];
    kept.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"kept");
}
