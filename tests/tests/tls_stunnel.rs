//! stunnel, as Debian has it, at the other end: as the server that we go to, and as the client that
//! comes to us.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use ipcd_tests::tls::{Authority, Files};
use ipcd_tests::{Daemon, Host, PATIENCE, free_port, has, installed, until};

/// stunnel with one service of these lines. What it does not say, it does as it is shipped.
fn stunnel(authority: &Authority, name: &str, lines: &str) -> Daemon {
    let file = authority.directory().join(format!("{name}.conf"));
    let head = "foreground = yes\npid =\nsyslog = no\n";
    fs::write(&file, format!("{head}[{name}]\n{lines}")).unwrap();
    let mut command = Command::new(installed("stunnel4").unwrap());
    Daemon::start(command.arg(file).stdout(Stdio::null()).stderr(Stdio::null()))
}

fn listens(port: u16) {
    until("stunnel listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// The lines of a certificate.
fn shown(files: &Files) -> String {
    format!("cert = {}\nkey = {}\n", files.chain.display(), files.key.display())
}

/// A plain service that gives back all that came, backwards, when its client has ended. It stays
/// connected: stunnel 5.68 forgets what it has not read yet of a server that closes.
fn backwards() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for client in listener.incoming() {
            let (mut client, mut all) = (client.unwrap(), Vec::new());
            // Who only looks whether somebody listens says nothing.
            if client.read_to_end(&mut all).is_ok() {
                all.reverse();
                let _gone = client.write_all(&all).is_err();
            }
            kept.push(client);
        }
    });
    port
}

/// As many bytes as no buffer on the way holds.
fn much() -> Vec<u8> {
    (0_u8..=250).cycle().take(3 << 20).collect()
}

/// Says all of it, ends that direction, and has all of it back, backwards.
fn goes_there_and_back(mut stream: impl Read + Write, end: impl FnOnce()) {
    let mut words = much();
    stream.write_all(&words).unwrap();
    end();
    let mut back = vec![0; words.len()];
    stream.read_exact(&mut back).unwrap();
    words.reverse();
    assert!(back == words);
}

#[test]
fn a_server_behind_stunnel_is_reached_with_the_certificate_that_it_wants() {
    if !has("stunnel", installed("stunnel4").is_some()) {
        return;
    }
    let authority = Authority::new();
    let server = authority.issue("server", &["127.0.0.1"]);
    let own = authority.issue("own", &["web1.example.com"]);
    let others = Authority::new();
    let stranger = others.issue("stranger", &["web1.example.com"]);
    let (port, plain, ca) = (free_port(), backwards(), authority.certificate());
    let lines = format!(
        "accept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{plain}\n{}CAfile = {}\n\
         verifyChain = yes\nrequireCert = yes\n",
        shown(&server),
        ca.display()
    );
    let _stunnel = stunnel(&authority, "server", &lines);
    listens(port);
    let redirects: String = ["own", "stranger", "nobody"]
        .map(|name| {
            let certificate = if name == "nobody" { String::new() } else { format!("&certificate={name}") };
            format!("[[redirect]]\nfrom = '{name}'\nto = 'tls://127.0.0.1:{port}?trust=lab{certificate}'\n")
        })
        .concat();
    let host =
        Host::with_config(&format!("rules = \"allow out * tls:127.0.0.1:*\"\n{redirects}"), &[])
            .with_tlsd(&format!(
                "[trust.lab]\nca = \"{}\"\n{}{}",
                ca.display(),
                own.table("own"),
                stranger.table("stranger")
            ))
            .with_tcpd(None);
    let stream = host.connect("own", "").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let other = stream.try_clone().unwrap();
    goes_there_and_back(stream, || other.shutdown(Shutdown::Write).unwrap());
    let said = |name| host.connect(name, "").unwrap_err().to_string();
    for (name, expected) in [
        ("stranger", "a signature of ours is wrong for it"),
        ("nobody", "it wants a certificate of ours"),
    ] {
        let said = said(name);
        let expected = format!("the far end does not accept us: {expected}");
        assert!(said.contains(&expected), "{name}: {said}");
    }
}

#[test]
fn a_client_behind_stunnel_reaches_a_service_of_this_host() {
    if !has("stunnel", installed("stunnel4").is_some()) {
        return;
    }
    let authority = Authority::new();
    let far = authority.issue("far", &["127.0.0.1"]);
    let (port, ca) = (free_port(), authority.certificate());
    let _host = Host::new(&["--rule", "allow in pongd tls:web1.example.com"])
        .with_pongd("pongd")
        .with_tlsd(&format!(
            "[listen.web]\ncertificate = 'host'\nclients = 'lab'\nservice = 'pongd'\n{}\
             [trust.lab]\nca = \"{}\"\n",
            far.table("host"),
            ca.display()
        ))
        .with_tcpd_of(&format!("[listen.web]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n"));
    let client = |name: &str, shown: &str| {
        let entry = free_port();
        let lines = format!(
            "client = yes\naccept = 127.0.0.1:{entry}\nconnect = 127.0.0.1:{port}\n{shown}\
             CAfile = {}\nverifyChain = yes\ncheckIP = 127.0.0.1\n",
            ca.display()
        );
        let daemon = stunnel(&authority, name, &lines);
        listens(entry);
        let stream = TcpStream::connect(("127.0.0.1", entry)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (daemon, stream)
    };
    let (_stunnel, mut stream) =
        client("web1", &shown(&authority.issue("web1", &["web1.example.com"])));
    for words in [b"hello".to_vec(), vec![7; 70_000]] {
        stream.write_all(&words).unwrap();
        let mut back = vec![0; words.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == words);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end comes back too");
    // Proven, and nobody who may; and who proves nothing.
    let other = shown(&authority.issue("web2", &["web2.example.com"]));
    for (name, shown) in [("web2", other.as_str()), ("nobody", "")] {
        let (_stunnel, mut stream) = client(name, shown);
        // It may be told before it has said anything.
        let _told = stream.write_all(b"hello").is_err();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "{name}");
    }
}
