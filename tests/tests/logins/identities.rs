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
        hosts.near.configure(&format!("redirects = {{ pongd = 'tls://{target}' }}\n"));
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

/// A near host that lets alice and her group out, and knows whom it believes to be her.
fn with_rule_out(hosts: &mut Hosts, rule: &str) {
    let config = format!(
        "rules = '''\n{rule}\n'''\n{AUTHD}",
        rule = rule.replace("PORT", &hosts.port.to_string())
    );
    let near = Host::of(&ipcd_tests::Setup { config: &config, logs: true, ..Default::default() });
    let dialling = crate::hosts::dialling(&hosts.authority.certificate());
    hosts.near = near.with_tlsd(&dialling).with_tcpd(None);
}

#[test]
fn a_program_that_logs_in_goes_where_rules_let_that_login_go() {
    let mut hosts = Hosts::new("allow in pongd tls:* for login:alice,login:bob", AUTHD);
    let users: &[(&str, &str, &[&str])] = &[("alice", "right", &[]), ("bob", "right", &[])];
    hosts.far = hosts.far.with_authd(users);
    with_rule_out(&mut hosts, "allow out pongd tls:127.0.0.1:PORT for login:alice");
    // Nobody says here who alice is.
    let said = hosts.ping("alice:right");
    assert!(said.contains("a login cannot be verified: unknown service"), "{said}");
    hosts.near = hosts.near.with_authd(users);
    assert_eq!(hosts.ping("alice:right"), "ping");
    let denied = "denied: 127.0.0.1 is a loopback address, and no rule names it";
    assert_eq!(hosts.ping("bob:right"), denied, "who he is, is proven, and it is not she");
    let anonymous = format!("pongd tls://127.0.0.1:{}/pongd", hosts.port);
    assert_eq!(hosts.near.ping("pongd", &anonymous), denied, "who says nothing is nobody");
    assert_eq!(
        hosts.ping("alice:wrong"),
        "not authenticated: authd does not accept its login",
        "and what is wrong ends it"
    );
    let counted = "peer=\"uid:";
    crate::hosts::until_authd_logged(&hosts.near, counted);
    // The next request on the same connection is nobody's again.
    let name = libipc::ServiceName::new("pongd").unwrap();
    let environment = |network: &str| hosts.near.environment(network);
    for (network, expected) in [(hosts.network("alice:right"), true), (anonymous.clone(), false)] {
        let connector =
            libipc::connector::Connector::new(&environment(&network), ipcd_tests::PATIENCE);
        assert_eq!(connector.unwrap().connect(&name).is_ok(), expected, "{network}");
    }
}

#[test]
fn a_login_that_rules_deny_is_denied_and_one_that_nobody_asks_about_is_not_looked_at() {
    let users: &[(&str, &str, &[&str])] =
        &[("alice", "right", &["staff"]), ("bob", "right", &["guests"])];
    let mut hosts = Hosts::new("allow in pongd tls:* for login:alice,login:bob", AUTHD);
    hosts.far = hosts.far.with_authd(users);
    with_rule_out(
        &mut hosts,
        "deny out pongd tls:127.0.0.1:PORT for login:@guests\nallow out pongd tls:127.0.0.1:PORT",
    );
    hosts.near = hosts.near.with_authd(users);
    assert_eq!(hosts.ping("alice:right"), "ping");
    assert_eq!(hosts.ping("bob:right"), "denied: a rule denies it");
    // A deny is about everybody of whom it is not known that it is not about him.
    let anonymous = format!("pongd tls://127.0.0.1:{}/pongd", hosts.port);
    assert_eq!(hosts.near.ping("pongd", &anonymous), "denied: a rule denies it");
    with_rule_out(&mut hosts, "allow out pongd tls:127.0.0.1:PORT");
    assert_eq!(hosts.ping("alice:right"), "ping", "there is nobody to ask, and no need to");
}

/// The method that the broker calls when a tlsd tells of a peer that has proven this.
fn called_about(host: &Host, name: &str) -> String {
    use libipc::interface::transport::{Arrival, LISTEN, Proven, Told};
    use libipc::varlink;
    use std::io::{Read, Write};
    let place = host.rundir().join("transport/tls");
    let listener = std::os::unix::net::UnixListener::bind(&place).unwrap();
    let call = |caller: &mut std::os::unix::net::UnixStream| {
        let mut message = Vec::new();
        let mut byte = [1];
        while caller.read(&mut byte).unwrap() == 1 && byte != [0] {
            message.push(byte[0]);
        }
        varlink::read_call(&message).unwrap().method.into_owned()
    };
    let (mut told, _) = listener.accept().unwrap();
    assert_eq!(call(&mut told), LISTEN);
    let arrival = Arrival {
        id: 1,
        scheme: "tls".to_owned(),
        listener: "fleet".to_owned(),
        address: "192.0.2.1:1".parse().unwrap(),
        service: Some("pongd".to_owned()),
        hops: Some(1),
        identity: Proven { names: vec![name.to_owned()] },
        user: None,
        secret: None,
    };
    told.write_all(&varlink::reply(&Told::Arrived { arrival }, true)).unwrap();
    let (mut about, _) = listener.accept().unwrap();
    std::fs::remove_file(place).unwrap();
    call(&mut about)
}

#[test]
fn that_somebody_has_logged_in_is_believed_of_nobody_but_the_authentication_service() {
    use libipc::interface::transport::{ATTACH, REFUSE};
    let rules = "allow in pongd tls:* for login:alice\nallow in pongd tls:* for key:fleet";
    let host = Host::with_config(&format!("rules = '''\n{rules}\n'''\n{AUTHD}"), &[]);
    let host = host.with_pongd("pongd");
    assert_eq!(called_about(&host, "key:fleet"), ATTACH);
    assert_eq!(called_about(&host, "login:alice"), REFUSE);
}
