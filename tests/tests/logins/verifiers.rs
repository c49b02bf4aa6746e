//! Services that verify logins, as the broker may meet them: good, slow, broken, gone.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use ipcd_tests::{Host, PATIENCE};
use libipc::interface::authenticator::{AuthenticatorError, Verified, Verify};
use libipc::rundir::Instance;
use libipc::{Listener, ServiceName, Stream, varlink};

use crate::hosts::{AUTHD, Hosts, dialling, far, until_logged};

/// Serves `authd` on a host: each question is answered by these bytes.
fn verifier(host: &Host, answer: impl Fn(&Verify) -> Vec<u8> + Send + 'static) -> Receiver<Verify> {
    let listener = listener(host);
    let (sender, asked) = channel();
    thread::spawn(move || {
        while let Ok(mut stream) = listener.accept() {
            let verify = question(&mut stream);
            stream.write_all(&answer(&verify)).unwrap();
            if sender.send(verify).is_err() {
                return;
            }
        }
    });
    asked
}

fn listener(host: &Host) -> Listener {
    let name = ServiceName::new("authd").unwrap();
    Listener::bind_in(&host.directory(Instance::Private), &name).unwrap()
}

fn question(stream: &mut Stream) -> Verify {
    let mut message = Vec::new();
    let mut byte = [1];
    while byte != [0] {
        stream.read_exact(&mut byte).unwrap();
        message.push(byte[0]);
    }
    message.pop();
    let call = varlink::read_call(&message).unwrap();
    varlink::read_parameters(call.parameters).unwrap()
}

fn yes(user: &str) -> Vec<u8> {
    let verified = Verified { user: user.to_owned(), groups: vec!["staff".to_owned()] };
    varlink::reply(&verified, false).to_vec()
}

const ALICE: &str = "allow in pongd tls:* for login:alice";

#[test]
fn a_login_reaches_the_service_that_verifies_it_and_its_name_decides() {
    let hosts = Hosts::new(ALICE, AUTHD);
    let asked = verifier(&hosts.far, |verify| yes(verify.user.expose()));
    assert_eq!(hosts.ping("alice:s%3Bcret"), "ping");
    let verify = asked.recv().unwrap();
    assert_eq!((verify.user.expose(), verify.secret.expose()), ("alice", "s;cret"));
    assert_eq!(verify.peer, "127.0.0.1");
    // Who he is, is proven; that is no permission.
    assert_eq!(hosts.ping("bob:secret"), hosts.refused("says no"));
    assert_eq!(asked.recv().unwrap().user.expose(), "bob");
    // And who says nothing is nobody, whom nobody asks about.
    let anonymous = format!("pongd tls://127.0.0.1:{}/pongd", hosts.port);
    assert_eq!(hosts.near.ping("pongd", &anonymous), hosts.refused("says no"));
    assert!(asked.try_recv().is_err());
}

#[test]
fn groups_of_a_login_are_named_apart_from_users() {
    let hosts = Hosts::new("allow in pongd tls:* for login:@staff", AUTHD);
    let _asked = verifier(&hosts.far, |verify| yes(verify.user.expose()));
    assert_eq!(hosts.ping("alice:x"), "ping");
    let hosts = Hosts::new("allow in pongd tls:* for login:staff", AUTHD);
    let _asked = verifier(&hosts.far, |verify| yes(verify.user.expose()));
    assert_eq!(hosts.ping("alice:x"), hosts.refused("says no"), "a group is no user");
}

#[test]
fn a_login_that_is_not_accepted_is_told_as_that_and_nothing_more() {
    let hosts = Hosts::new(ALICE, AUTHD);
    let _asked =
        verifier(&hosts.far, |_| varlink::error(&AuthenticatorError::Rejected {}).to_vec());
    assert_eq!(hosts.ping("alice:wrong"), hosts.refused("does not accept this login"));
    until_logged(&hosts.far, "not authenticated: authd does not accept its login");
    let log = hosts.far.log();
    assert!(!log.contains("wrong") && !log.contains("alice"), "{log}");
}

#[test]
fn without_a_service_that_verifies_logins_are_refused_and_the_log_has_the_cure() {
    let hosts = Hosts::new(ALICE, "");
    assert_eq!(hosts.ping("alice:secret"), hosts.refused("does not accept this login"));
    until_logged(&hosts.far, "[authentication] service =");
}

#[test]
fn a_verifier_that_is_not_there_or_breaks_down_is_told_as_that() {
    let hosts = Hosts::new(ALICE, AUTHD);
    let later = hosts.refused("cannot verify logins now");
    assert_eq!(hosts.ping("alice:secret"), later, "it does not run");
    until_logged(&hosts.far, "a login cannot be verified: unknown service");
    let answers: [&[u8]; 8] = [
        b"",
        b"\0",
        b"garbage\0",
        b"{}\0",
        b"{\"parameters\":{}}\0",
        b"{\"parameters\":{\"user\":\"\",\"groups\":[]}}\0",
        b"{\"parameters\":{\"user\":\"a,b\",\"groups\":[]}}\0",
        b"{\"error\":\"org.ipcd.Authenticator.Busy\",\"parameters\":{}}\0",
    ];
    let mut left = answers.map(<[u8]>::to_vec).into_iter();
    let (sender, next) = channel();
    for answer in left.by_ref() {
        sender.send(answer).unwrap();
    }
    let next = std::sync::Mutex::new(next);
    let asked = verifier(&hosts.far, move |_| next.lock().unwrap().recv().unwrap());
    for answer in answers {
        assert_eq!(hosts.ping("alice:secret"), later, "{:?}", String::from_utf8_lossy(answer));
        asked.recv().unwrap();
    }
    // What verifies may be started at any time.
    drop(asked);
    let _asked = verifier(&hosts.far, |verify| yes(verify.user.expose()));
    assert_eq!(hosts.ping("alice:secret"), "ping");
}

#[test]
fn a_verifier_that_sleeps_costs_its_time_and_delays_nobody_else() {
    let config = format!("{AUTHD}[limits]\nlogin-timeout-ms = 2000\nlogins = 1\n");
    let rule = format!("{ALICE}\nallow in pongd tls:* for anonymous");
    let hosts = Hosts::new(&rule, &config);
    let listener = listener(&hosts.far);
    thread::scope(|scope| {
        let late = scope.spawn(|| hosts.ping("alice:secret"));
        let mut asleep = ipcd_tests::accept(&listener);
        question(&mut asleep);
        // One more than may be verified is told to come again, and who needs no login is served.
        assert_eq!(hosts.ping("bob:secret"), hosts.refused("cannot verify logins now"));
        let anonymous = format!("pongd tls://127.0.0.1:{}/pongd", hosts.port);
        assert_eq!(hosts.near.ping("pongd", &anonymous), "ping");
        assert_eq!(late.join().unwrap(), hosts.refused("cannot verify logins now"));
    });
    until_logged(&hosts.far, "timed out: unix:authd");
    until_logged(&hosts.far, "the limit logins (1) is reached");
}

#[test]
fn a_client_that_gives_up_ends_the_verification_too() {
    let hosts = Hosts::new(ALICE, AUTHD);
    let listener = listener(&hosts.far);
    let network = hosts.network("alice:secret");
    let patience = Duration::from_secs(2);
    assert!(hosts.near.connect_within(patience, "pongd", &network).is_err());
    let mut asked = ipcd_tests::accept(&listener);
    question(&mut asked);
    asked.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(asked.read(&mut [0]).unwrap(), 0, "nobody waits for the answer any more");
}

#[test]
fn what_verifies_may_be_on_a_third_host() {
    let hosts = Hosts::new(ALICE, AUTHD);
    let port = ipcd_tests::free_port();
    let third = far("rules = 'allow in logins tls:* for anonymous'\n", &hosts.authority, port);
    let name = ServiceName::new("logins").unwrap();
    let listener = Listener::bind_in(&third.directory(Instance::Private), &name).unwrap();
    thread::spawn(move || {
        while let Ok(mut stream) = listener.accept() {
            let verify = question(&mut stream);
            stream.write_all(&yes(verify.user.expose())).unwrap();
        }
    });
    let config = format!(
        "rules = '''\n{ALICE}\nallow out authd tls:127.0.0.1:{port}\n'''\n{AUTHD}\
         [redirects]\nauthd = 'tls://127.0.0.1:{port}/logins'\n"
    );
    let far_port = ipcd_tests::free_port();
    let files = hosts.authority.issue("second", &["127.0.0.1"]);
    let listen = format!(
        "[listen.open]\ncertificate = 'host'\nclients = 'none'\n{}{}",
        dialling(&hosts.authority.certificate()),
        files.table("host")
    );
    let _far = Host::with_config(&config, &[])
        .with_pongd("pongd")
        .with_tlsd(&listen)
        .with_tcpd_of(&format!("[listen.open]\naddress = '127.0.0.1:{far_port}'\nthen = 'tls'\n"));
    let allowed = format!("allow out * tls:127.0.0.1:{far_port}");
    let near = Host::new(&["--rule", &allowed])
        .with_tlsd(&dialling(&hosts.authority.certificate()))
        .with_tcpd(None);
    let network = |login: &str| format!("pongd tls://{login}@127.0.0.1:{far_port}/pongd");
    assert_eq!(near.ping("pongd", &network("alice:secret")), "ping");
    assert!(near.ping("pongd", &network("bob:secret")).contains("the far host says no"));
}
