//! Plain programs of this host and TLS servers of others, which know nothing of us.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};

use ipcd_tests::raw::Raw;
use ipcd_tests::tls::Authority;
use ipcd_tests::{Host, PATIENCE, has, installed, outcome, tls_servers};

/// A host that may go anywhere on loopback by TLS, and trusts the authority `lab`.
fn host(authority: &Authority, redirects: &str) -> Host {
    let config = format!("rules = \"allow out * tls:127.0.0.1:*,tcp:127.0.0.1:*\"\n{redirects}");
    let ca = authority.certificate();
    Host::with_config(&config, &[])
        .with_tlsd(&format!("[trust.lab]\nca = \"{}\"\n", ca.display()))
        .with_tcpd(None)
}

fn redirect(name: &str, port: u16, options: &str) -> String {
    format!("[[redirect]]\nfrom = '{name}'\nto = 'tls://127.0.0.1:{port}?{options}'\n")
}

#[test]
fn openssl_serves_by_1_3_and_by_1_2_only_where_that_is_allowed() {
    let authority = Authority::new();
    let files = authority.issue("server", &["127.0.0.1"]);
    let new = tls_servers::openssl(&files, &["-tls1_3", "-rev"], None);
    let old = tls_servers::openssl(&files, &["-tls1_2", "-rev"], None);
    let ancient =
        tls_servers::openssl(&files, &["-tls1_1", "-rev", "-cipher", "ALL:@SECLEVEL=0"], None);
    let redirects = [
        redirect("new", new.port, "trust=lab"),
        redirect("old", old.port, "trust=lab"),
        redirect("old-allowed", old.port, "trust=lab&tls12=true"),
        redirect("ancient", ancient.port, "trust=lab&tls12=true"),
    ];
    let host = host(&authority, &redirects.concat());
    for name in ["new", "old-allowed"] {
        let mut stream = host.connect(name, "").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"abc\n").unwrap();
        let mut line = [0; 4];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"cba\n", "{name}");
    }
    for name in ["old", "ancient"] {
        let said = host.connect(name, "").unwrap_err().to_string();
        assert!(said.contains("does not speak TLS 1.3"), "{name}: {said}");
    }
}

#[test]
fn curl_gets_a_page_of_an_https_server_through_a_front() {
    if !has("curl", installed("curl").is_some()) {
        return;
    }
    let authority = Authority::new();
    let files = authority.issue("server", &["127.0.0.1"]);
    let pages = authority.directory().join("pages");
    std::fs::create_dir(&pages).unwrap();
    let page = "a page\n".repeat(100_000);
    std::fs::write(pages.join("page"), &page).unwrap();
    let server = tls_servers::openssl(&files, &["-WWW"], Some(&pages));
    let redirects = redirect("web", server.port, "trust=lab") + "[services.web]\nfront = true\n";
    let host = host(&authority, &redirects);
    let front = host.rundir().join("front/web");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "10", "--unix-socket"]).arg(front);
    let (code, got, _) = outcome(curl.arg("http://web.example/page"));
    assert_eq!((code, got.len()), (0, page.len()));
    assert!(got == page, "the page is another one");
}

#[test]
fn a_clients_own_connection_becomes_the_stream_if_it_can_take_no_other() {
    let authority = Authority::new();
    let files = authority.issue("server", &["127.0.0.1"]);
    let server = tls_servers::echo(&files);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (client, _) = plain.accept().unwrap();
        std::io::copy(&mut &client, &mut &client)
    });
    let redirects = redirect("tls", server.port, "trust=lab")
        + &format!("[[redirect]]\nfrom = 'tcp'\nto = 'tcp://127.0.0.1:{port}'\n");
    let host = host(&authority, &redirects);
    for service in ["tls", "tcp"] {
        let mut client = Raw::to(&host);
        let call = format!(
            "{{\"method\":\"org.ipcd.Broker.Connect\",\"parameters\":{{\"service\":\"{service}\",\
             \"take\":[\"upgrade\"]}},\"upgrade\":true}}\0"
        );
        // What follows the call is for the service.
        client.say(&[call.as_bytes(), b"early "].concat()).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer["parameters"]["handoff"], "upgrade", "{answer}");
        client.say(b"and late").unwrap();
        let mut words = [0; 14];
        client.0.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"early and late", "{service}");
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.0.read(&mut words).unwrap(), 0, "{service}");
    }
}

#[test]
fn psql_speaks_to_a_server_that_lets_nobody_in_without_tls() {
    let authority = Authority::new();
    let files = authority.issue("server", &["127.0.0.1"]);
    let Some(mut server) = tls_servers::postgresql(&files) else { return };
    let redirects = [
        redirect("db", server.port, "trust=lab&starttls=postgres"),
        redirect("plain", server.port, "trust=lab"),
        "[services.db]\nfront = true\n".to_owned(),
    ];
    let host = host(&authority, &redirects.concat());
    let name = authority.directory().join(".s.PGSQL.5432");
    std::os::unix::fs::symlink(host.rundir().join("front/db"), name).unwrap();
    let mut psql = Command::new("psql");
    psql.args(["-X", "-A", "-t", "-U", "postgres", "-d", "postgres", "-h"]);
    psql.arg(authority.directory()).env("PGCONNECT_TIMEOUT", "10");
    let query = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()";
    let (code, said, error) = outcome(psql.args(["-c", query]).stdin(Stdio::null()));
    assert_eq!((code, said.trim()), (0, "t|TLSv1.3"), "{error}");
    let said = host.connect("plain", "").unwrap_err().to_string();
    assert!(said.contains("starttls=postgres"), "{said}");
    drop(host);
    server.quit();
}

#[test]
fn a_mail_server_switches_to_tls() {
    let authority = Authority::new();
    let files = authority.issue("server", &["127.0.0.1"]);
    let Some(server) = tls_servers::mail(&files) else { return };
    let redirects = [
        redirect("mail", server.port, "trust=lab&starttls=smtp"),
        redirect("hasty", server.port, "trust=lab"),
    ];
    let host = host(&authority, &redirects.concat());
    let mut stream = BufReader::new(host.connect("mail", "").unwrap());
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "220 127.0.0.1 ready\r\n");
    let mut say = |words: &str, expected: &str| {
        stream.get_mut().write_all(words.as_bytes()).unwrap();
        let mut line = String::from("250-");
        while line.get(3..4) == Some("-") {
            line.clear();
            stream.read_line(&mut line).unwrap();
            assert!(!line.contains("STARTTLS"), "it is under TLS already");
        }
        assert!(line.starts_with(expected), "{words:?}: {line}");
    };
    say("EHLO client\r\n", "250");
    say("MAIL FROM:<a@example.com>\r\n", "250");
    say("RCPT TO:<b@example.com>\r\n", "250");
    say("DATA\r\n", "354");
    say("Subject: hello\r\n\r\nhello\r\n.\r\n", "250");
    say("QUIT\r\n", "221");
    let said = host.connect("hasty", "").unwrap_err().to_string();
    assert!(said.contains("starttls=smtp"), "{said}");
}

#[test]
fn an_imap_server_switches_to_tls() {
    let authority = Authority::new();
    let files = authority.issue("server", &["127.0.0.1"]);
    let Some(server) = tls_servers::imap(&files) else { return };
    let host = host(&authority, &redirect("imap", server.port, "trust=lab&starttls=imap"));
    let mut stream = BufReader::new(host.connect("imap", "").unwrap());
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "* OK 127.0.0.1 ready\r\n");
    stream.get_mut().write_all(b"a LOGIN alice secret\r\n").unwrap();
    line.clear();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("a OK"), "{line}");
}

#[test]
fn servers_that_are_not_what_was_expected_say_what_to_do() {
    let authority = Authority::new();
    let cases: [(&str, &[u8], &str, &str); 5] = [
        ("silent", b"", "trust=lab", "wants the option starttls="),
        ("imap", b"* OK hello\r\n", "trust=lab", "the option starttls=imap"),
        ("web", b"HTTP/1.1 400 no\r\n\r\n", "trust=lab", "it answers in plain HTTP"),
        ("declines", b"N", "trust=lab&starttls=postgres", "the server does not switch to TLS"),
        ("intruder", b"S\x16\x03", "trust=lab&starttls=postgres", "speaks in its place"),
    ];
    let mut redirects = String::new();
    for (name, words, options, _) in cases {
        redirects += &redirect(name, tls_servers::blunt(words), options);
    }
    let host = host(&authority, &redirects);
    for (name, _, _, expected) in cases {
        let said = host.connect(name, "").unwrap_err().to_string();
        assert!(said.contains(expected), "{name}: {said}");
    }
}

/// A host that offers pongd to plain clients of TLS, and the port.
fn terminator(authority: &Authority, clients: &str) -> (Host, u16) {
    let port = ipcd_tests::free_port();
    let files = authority.issue("far", &["127.0.0.1"]);
    let ca = authority.certificate();
    let rules = [
        "--rule",
        "allow in pongd tls for anonymous",
        "--rule",
        "allow in pongd tls:web1.example.com",
    ];
    let host = Host::new(&rules)
        .with_pongd("pongd")
        .with_tlsd(&format!(
            "[listen.web]\ncertificate = 'host'\nclients = '{clients}'\nservice = 'pongd'\n\
             tls12 = true\n{}[trust.lab]\nca = \"{}\"\n",
            files.table("host"),
            ca.display()
        ))
        .with_tcpd_of(&format!("[listen.web]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n"));
    (host, port)
}

/// What `openssl s_client` gets back for a line.
fn s_client(authority: &Authority, port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-quiet", "-no_ign_eof"]);
    command.arg("-CAfile").arg(authority.certificate()).args(["-verify_return_error"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // It may have been turned away already.
    let _turned_away = input.write_all(b"hello\n").is_err();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    drop(input);
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

#[test]
fn a_service_is_offered_to_plain_clients_of_tls() {
    let authority = Authority::new();
    let (_host, port) = terminator(&authority, "none");
    for version in ["-tls1_3", "-tls1_2"] {
        assert_eq!(s_client(&authority, port, &[version]), "hello\n", "{version}");
    }
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    assert_eq!(s_client(&authority, port, &old), "");
}

#[test]
fn a_client_without_a_certificate_does_not_get_in_where_one_is_wanted() {
    let authority = Authority::new();
    let (_host, port) = terminator(&authority, "lab");
    assert_eq!(s_client(&authority, port, &[]), "");
    let client = authority.issue("client", &["web1.example.com"]);
    let shown = ["-cert", client.chain.to_str().unwrap(), "-key", client.key.to_str().unwrap()];
    assert_eq!(s_client(&authority, port, &shown), "hello\n");
    let stranger = Authority::new().issue("client", &["web1.example.com"]);
    let shown = ["-cert", stranger.chain.to_str().unwrap(), "-key", stranger.key.to_str().unwrap()];
    assert_eq!(s_client(&authority, port, &shown), "");
}
