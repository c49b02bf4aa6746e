//! Reading everything again, while connections are open.

use std::io::{Read, Write};
use std::sync::Arc;

use serde_json::json;

use crate::authority::{Files, authority, dns, issue, ordinary};
use crate::far::{self, client_config, server_config};
use crate::process::Tlsd;

#[test]
fn new_connections_see_what_is_new_and_open_ones_stay() {
    let (files, old, new) = (Files::new(), authority("old"), authority("new"));
    let mut tlsd = Tlsd::start(&files.trust("lab", &old, ""));
    let name = ordinary(&[dns("host.example.com")]);
    let meet = |tlsd: &Tlsd, issuer| {
        let (near, _talk) = far::server(server_config(&issue(issuer, &name)));
        tlsd.wrap("host.example.com", &json!({ "trust": "lab" }), near)
    };
    let (mut call, answer) = meet(&tlsd, &old);
    let mut stream = call.attach(answer.parameter("id"));
    assert_eq!(tlsd.reload(&files.trust("lab", &new, ""))["event"], "reloaded");
    assert!(meet(&tlsd, &old).1.said().contains("not from an authority"));
    assert_eq!(meet(&tlsd, &new).1.said(), "");
    stream.write_all(b"ping").unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
}

#[test]
fn what_is_wrong_changes_nothing_and_says_why() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let good = issue(&issuer, &ordinary(&[dns("host.example.com")]));
    let listen = "[listen.open]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n";
    let config = [listen, &files.certificate("host", &good)].concat();
    let mut tlsd = Tlsd::start(&config);
    let client = Arc::new(client_config(&issuer, None));
    let is_served = |tlsd: &Tlsd| {
        let (near, talk) = far::client(&client, b"hello");
        let mut call = tlsd.serve("open", near);
        let answer = call.answer();
        let mut stream = call.attach(&answer.parameter("arrival")["id"]);
        stream.write_all(b"welcome").unwrap();
        talk.join().unwrap().is_ok_and(|said| said == "welcome")
    };
    let wrong = |tlsd: &mut Tlsd, config: &str, expected: &str| {
        let event = tlsd.reload(config);
        assert_eq!(event["event"], "not-reloaded", "{expected}");
        let why = event["why"].as_str().unwrap();
        assert!(why.contains(expected), "{why}");
    };
    let other = issue(&issuer, &ordinary(&[dns("host.example.com")]));
    files.write("host.key", &other.key.serialize_pem());
    wrong(&mut tlsd, &config, "[certificate.host]: the key is not that of the certificate");
    files.write("host.key", "nothing");
    wrong(&mut tlsd, &config, "has no private key in PEM form");
    let path = files.write("host.key", &good.key.serialize_pem());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    wrong(&mut tlsd, &config, "others may read it (mode 0644)");
    files.write("host.key", &good.key.serialize_pem());
    files.write("host.crt", "nothing");
    wrong(&mut tlsd, &config, "has no certificate in PEM form");
    let short = files.write("short.key", "c2hvcnQ=");
    let short = format!("[key.a]\nsecret = '{}'\n", short.display());
    wrong(&mut tlsd, &short, "wants base64 of at least 32 bytes");
    wrong(&mut tlsd, "[listen.open]\nverify = false\n", "unknown key `verify`");
    assert!(is_served(&tlsd), "it goes on as before");
}

#[test]
fn a_key_that_is_passed_at_the_start_alone_is_told_as_that() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let [old, new] = [(); 2].map(|()| issue(&issuer, &ordinary(&[dns("host.example.com")])));
    let _tables = (files.certificate("old", &old), files.certificate("new", &new));
    let check = |chain: &str| {
        let chain = files.path(chain);
        let config = format!(
            "[certificate.host]\nchain = '{}'\nkey = 'credential:old.key'\n",
            chain.display()
        );
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tlsd"));
        command.args(["--check", "--config"]).arg(files.write("tlsd.toml", &config));
        let output = command.env("CREDENTIALS_DIRECTORY", files.path("")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("old.crt"), (true, String::new()));
    let (is_good, said) = check("new.crt");
    assert!(!is_good && said.contains("a new one takes a restart"), "{said}");
}

#[test]
fn a_session_is_resumed_at_the_listener_that_began_it_and_nowhere_else() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let host = issue(&issuer, &ordinary(&[dns("host.example.com")]));
    let listen = |name: &str| {
        format!("[listen.{name}]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n")
    };
    let config = [listen("one"), listen("two"), files.certificate("host", &host)].concat();
    let mut tlsd = Tlsd::start(&config);
    let client = Arc::new(client_config(&issuer, None));
    let resumes = |tlsd: &Tlsd, listener: &str| {
        let (near, talk) = far::resuming(&client);
        let mut call = tlsd.serve(listener, near);
        let answer = call.answer();
        let mut stream = call.attach(&answer.parameter("arrival")["id"]);
        stream.write_all(b"welcome").unwrap();
        talk.join().unwrap()
    };
    assert!(!resumes(&tlsd, "one"), "there is nothing to resume yet");
    assert!(resumes(&tlsd, "one"));
    assert!(!resumes(&tlsd, "two"), "another listener has other rules");
    assert!(!resumes(&tlsd, "one"), "the last ticket was another listener's");
    assert!(resumes(&tlsd, "one"));
    assert_eq!(tlsd.reload(&config)["event"], "reloaded");
    assert!(!resumes(&tlsd, "one"), "what decides may have changed");
}
