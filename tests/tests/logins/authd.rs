//! authd itself: between two hosts, and on its command line.

use std::fs;

use ipcd_tests::until;
use nix::sys::signal::Signal;

use crate::hosts::{AUTHD, Hosts, until_authd_logged, until_logged};

const RULES: &str = "allow in pongd tls:* for login:alice,login:@staff";

const USERS: &[(&str, &str, &[&str])] =
    &[("alice", "right", &[]), ("bob", "right too", &["staff"]), ("carol", "right", &["guests"])];

fn hosts() -> Hosts {
    let mut hosts = Hosts::new(RULES, AUTHD);
    hosts.far = hosts.far.with_authd(USERS);
    hosts
}

#[test]
fn who_knows_the_secret_is_served_and_rules_say_what() {
    let hosts = hosts();
    assert_eq!(hosts.ping("alice:right"), "ping");
    assert_eq!(hosts.ping("bob:right%20too"), "ping");
    // Who he is, is known; that is not enough.
    assert_eq!(hosts.ping("carol:right"), hosts.refused("says no"));
    let accepted = "event=\"login-accepted\" user=\"alice\" peer=\"127.0.0.1\"";
    until_authd_logged(&hosts.far, accepted);
    until_logged(&hosts.far, "login:bob, login:@staff");
}

#[test]
fn a_wrong_secret_and_an_unknown_user_are_told_alike() {
    let hosts = hosts();
    for login in ["alice:wrong", "nobody:right"] {
        assert_eq!(hosts.ping(login), hosts.refused("does not accept this login"), "{login}");
    }
    assert_eq!(hosts.ping("alice"), hosts.refused("does not accept this login"), "without secret");
    let rejected = "event=\"login-rejected\" user=\"alice\" peer=\"127.0.0.1\"";
    until_authd_logged(&hosts.far, rejected);
    let log = hosts.far.authd_log();
    assert!(!log.contains("nobody") && !log.contains("wrong"), "{log}");
}

#[test]
fn who_guesses_waits_and_is_told_the_same() {
    let hosts = hosts();
    let refused = hosts.refused("does not accept this login");
    for guess in 0..4 {
        assert_eq!(hosts.ping(&format!("alice:{guess}")), refused);
    }
    assert_eq!(hosts.ping("alice:right"), refused, "the right one too");
    until_authd_logged(&hosts.far, "event=\"login-held-back\" peer=\"127.0.0.1\"");
}

#[test]
fn users_who_come_and_go_count_after_a_reload_and_damage_changes_nothing() {
    let hosts = hosts();
    assert_eq!(hosts.far.authd_told(&["add", "dave", "--group", "staff"], "secret\n").0, 0);
    assert_eq!(hosts.far.authd_told(&["remove", "alice"], "").0, 0);
    assert_eq!(hosts.far.authd_told(&["change", "bob"], "new").0, 0);
    assert_eq!(
        hosts.far.authd_told(&["list"], ""),
        (0, "bob staff\ncarol guests\ndave staff\n".to_owned(), String::new())
    );
    let reload = |event: &str| {
        let before = hosts.far.authd_log().matches(event).count();
        hosts.far.others.last().unwrap().signal(Signal::SIGHUP);
        until("it was reloaded", || hosts.far.authd_log().matches(event).count() > before);
    };
    assert_eq!(hosts.ping("alice:right"), "ping", "as long as nobody says so");
    reload("event=\"reloaded\"");
    assert_eq!(hosts.ping("dave:secret"), "ping");
    assert_eq!(hosts.ping("bob:new"), "ping");
    assert_eq!(hosts.ping("alice:right"), hosts.refused("does not accept this login"));
    fs::write(hosts.far.users(), "dave\n").unwrap();
    reload("event=\"not-reloaded\"");
    until_authd_logged(&hosts.far, "line 1: a line is USER:HASH");
    assert_eq!(hosts.ping("dave:secret"), "ping");
}

#[test]
fn an_authd_that_dies_is_told_as_that_and_its_successor_goes_on() {
    use std::io::{Read, Write};
    let mut hosts = hosts();
    let mut kept = hosts.near.connect("pongd", &hosts.network("alice:right")).unwrap();
    hosts.far.others.last_mut().unwrap().crash();
    let later = hosts.refused("cannot verify logins now");
    assert_eq!(hosts.ping("alice:right"), later);
    kept.write_all(b"kept").unwrap();
    let mut answer = [0; 4];
    kept.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"kept");
    let authd = hosts.far.start_authd();
    hosts.far.others.push(authd);
    assert_eq!(hosts.ping("alice:right"), "ping");
}

#[test]
fn its_commands_say_what_is_wrong_and_change_nothing_then() {
    let host = ipcd_tests::Host::new(&[]);
    let told = |words: &[&str], line: &str| host.authd_told(words, line);
    let users = host.users();
    let users = users.display();
    assert_eq!(
        told(&["--check"], ""),
        (
            78,
            String::new(),
            format!("authd: {users}: is not there: /usr/libexec/ipcd/authd add USER makes it\n")
        )
    );
    assert_eq!(told(&["add", "alice"], "").0, 64, "no secret");
    assert_eq!(told(&["add", "alice"], "secret\n"), (0, String::new(), String::new()));
    let again = "authd: alice is there already: authd change alice\n".to_owned();
    assert_eq!(told(&["add", "alice"], "x\n"), (64, String::new(), again));
    let unknown = format!("authd: {users}: there is no user bob: authd list\n");
    assert_eq!(told(&["change", "bob"], "x\n"), (64, String::new(), unknown.clone()));
    assert_eq!(told(&["remove", "bob"], ""), (64, String::new(), unknown));
    assert!(told(&["add", "a:b"], "x\n").2.contains("a name has 1 to 64 of"));
    assert_eq!(told(&["--check"], ""), (0, String::new(), String::new()));
    let text = fs::read_to_string(host.users()).unwrap();
    assert!(text.starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
}

/// Types into a terminal, and tells whether it shows what is typed by then.
const TERMINAL: &str = "
import os, pty, select, signal, sys, termios
program, typed = sys.argv[2:], sys.argv[1].encode()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(program[0], program)
heard = b''
def until(what):
    global heard
    while what not in heard:
        heard += os.read(terminal, 4096)
until(b'Secret for alice: ')
shows = lambda: bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
assert not shows()
for number, line in enumerate(typed.split(b'|')):
    heard = b''
    os.write(terminal, line)
    if number == 0 and line.endswith(b'\\n'):
        until(b'Once more: ')
try:
    while True:
        heard += os.read(terminal, 4096)
except OSError:
    pass
status = os.waitpid(pid, 0)[1]
print(os.waitstatus_to_exitcode(status), b'first' in heard, heard.decode().strip())
";

#[test]
fn a_secret_that_is_typed_is_not_shown_and_is_typed_twice() {
    let host = ipcd_tests::Host::new(&[]);
    let authd = host.authd();
    let typed = |lines: &str| {
        let mut terminal = std::process::Command::new("python3");
        terminal.args(["-c", TERMINAL, lines]).arg(authd.get_program()).args(authd.get_args());
        ipcd_tests::outcome(terminal.args(["add", "alice"])).1
    };
    assert_eq!(
        typed("first\n|other\n"),
        "64 False authd: the two are not the same; nothing was changed\n"
    );
    // Ctrl-C ends it, and what was typed by then is nobody's.
    assert_eq!(typed("fir\x03"), "64 False authd: interrupted; nothing was changed\n");
    assert!(!host.users().exists());
    assert_eq!(typed("first\n|first\n"), "0 False \n");
    assert!(host.users().exists());
}
