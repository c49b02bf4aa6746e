//! What a login proves, and where it may travel.

use ipcd_tests::{Host, free_port};

use crate::hosts::{AUTHD, Hosts};

#[test]
fn a_login_over_tcp_is_an_error_that_says_so_and_nothing_is_sent() {
    let port = free_port();
    let rule = format!("allow out * tcp:127.0.0.1:{port}");
    let near = Host::new(&["--rule", &rule]).with_tcpd(None);
    let said = near.ping("pongd", &format!("pongd tcp://alice:secret@127.0.0.1:{port}/pongd"));
    assert!(said.contains("a login goes only to a far end that has proven who it is"), "{said}");
}

#[test]
fn a_peer_that_logs_in_without_encryption_is_refused() {
    use std::io::{Read, Write};
    let port = free_port();
    let far = Host::with_config(AUTHD, &["--rule", "allow in pongd tcp:127.0.0.1"])
        .with_pongd("pongd")
        .with_tcpd(Some(port));
    let hello = |login: &str| {
        format!(
            "{{\"method\":\"org.ipcd.Tunnel.Open\",\"parameters\":{{\"service\":\"pongd\"{login}}},\
             \"upgrade\":true}}\0"
        )
    };
    let answer = |hello: String| {
        let mut peer = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.set_read_timeout(Some(ipcd_tests::PATIENCE)).unwrap();
        peer.write_all(hello.as_bytes()).unwrap();
        let mut answer = [0; 18];
        peer.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(answer(hello("")), "{\"parameters\":{}}\0");
    let refused = answer(hello(",\"user\":\"alice\",\"secret\":\"x\""));
    assert!(refused.starts_with("{\"error\":\"org.ip"), "{refused}");
    drop(far);
}

#[test]
fn no_option_of_a_client_stands_in_for_the_login() {
    let hosts = Hosts::new("allow in pongd tls:* for login:alice", AUTHD);
    let network = format!("pongd tls://127.0.0.1:{}/pongd?secret-file=/etc/shadow", hosts.port);
    let said = hosts.near.ping("pongd", &network);
    assert!(said.contains("the option secret-file is the administrator's"), "{said}");
}

#[test]
fn the_secret_of_a_redirect_may_be_in_a_file_that_only_tlsd_reads() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    let hosts = Hosts::new("allow in pongd tls:* for login:alice", AUTHD);
    let far = hosts.far.with_authd(&[("alice", "in a file", &[])]);
    let file = far.place("secret");
    let ask = |target: &str| {
        let config = format!(
            "rules = 'allow out * tls:127.0.0.1:{port}'\n\
             redirects = {{ pongd = 'tls://{target}' }}\n",
            port = hosts.port
        );
        hosts.near.configure(&config);
        assert!(hosts.near.ipc(&["reload"]).status().unwrap().success());
        hosts.near.ping("pongd", "")
    };
    let target =
        |user: &str, option: &str| ask(&format!("{user}127.0.0.1:{}/pongd?{option}", hosts.port));
    let from_file = format!("secret-file={}", file.display());
    fs::write(&file, "in a file\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(target("alice@", &from_file), "ping");
    let said = target("", &from_file);
    assert!(said.contains("a secret needs a user: USER@HOST"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = target("alice@", &from_file);
    assert!(said.contains("others may read it (mode 0644): chmod 0600"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for text in ["", "two\nlines\n", &"x".repeat(1025)] {
        fs::write(&file, text).unwrap();
        let said = target("alice@", &from_file);
        assert!(said.contains("is one line of UTF-8 with 1024 bytes at most"), "{said}");
    }
    let said = target("alice@", "credential=x");
    assert!(said.contains("the service manager passes no credentials"), "{said}");
    let said = target("alice@", &format!("{from_file}&credential=x"));
    assert!(said.contains("secret-file and credential: one of them"), "{said}");
}
