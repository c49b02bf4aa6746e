//! The policy of a running broker: what keeps a configuration out, and who may ask about whom.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

use ipcd_tests::{
    Daemon, Host, has, installed, is_root, outcome, program, until, until_broker_answers,
};

/// A command as that user, in no group.
fn as_user(uid: u32, arguments: &[&str], host: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg("--regid=4720").arg("--clear-groups");
    command.arg(program("ipc").get_program()).args(arguments).arg("--rundir").arg(host);
    command
}

const GOOD: &str = "rules = 'allow out db tcp:192.0.2.1:1'\n[[test]]\nas = {}\nask = 'db'\n\
                    network = 'db tcp://192.0.2.1:1'\nexpect = 'allow'\n";

#[test]
fn a_configuration_whose_test_fails_is_not_taken_at_the_start_nor_later() {
    let host = Host::with_config(GOOD, &[]);
    let (code, said, _) =
        outcome(&mut host.ipc(&["why", "db", "--network", "db tcp://192.0.2.1:1"]));
    assert_eq!(code, 0, "{said}");
    host.configure(&GOOD.replace("allow out db tcp:192.0.2.1", "allow out db tcp:192.0.2.2"));
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 78);
    let failure = "ipcd.toml:6:10: the test fails: db, asked for by somebody: expected allow, got \
                   deny (no rule allows it)";
    assert!(said.contains(failure), "{said}");
    assert!(said.contains("to allow it: allow out db tcp:192.0.2.1:1"), "{said}");
    let (_, said, _) = outcome(&mut host.ipc(&["status", "--format", "table"]));
    assert!(said.contains(failure), "{said}");
    let (code, ..) = outcome(&mut host.ipc(&["why", "db", "--network", "db tcp://192.0.2.1:1"]));
    assert_eq!(code, 0, "the old rules stay");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ipcd.toml");
    fs::write(&file, GOOD.replace("'allow'\n", "'deny'\n")).unwrap();
    let mut start = program("ipcd");
    start.arg("--config").arg(&file).arg("--rundir").arg(place.path().join("ipc"));
    let (code, _, said) = outcome(&mut start);
    assert_eq!(code, 78);
    assert!(said.contains("the test fails: db, asked for by somebody: expected deny"), "{said}");
}

#[test]
fn a_rule_without_effect_is_a_warning_at_the_start_and_a_mistake_when_checked_or_reloaded() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ipcd.toml");
    fs::write(&file, "rules = ['deny out * *', 'allow out db tcp:h:1']\n").unwrap();
    let mut check = program("ipcd");
    check.arg("--rundir").arg(place.path());
    let (code, _, said) = outcome(check.arg("--check").arg("--config").arg(&file));
    assert_eq!(code, 78);
    assert!(said.contains("the rule never decides: `deny out * *` stands before it"), "{said}");
    let host = Host::of(&ipcd_tests::Setup {
        config: "rules = ['deny out * *', 'allow out db tcp:h:1']\n",
        logs: true,
        ..ipcd_tests::Setup::default()
    });
    until("the log has the warning", || host.log().contains("the rule never decides"));
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("the rule never decides: `deny out * *` stands before it"), "{said}");
    let status = || outcome(&mut host.ipc(&["status", "--format", "table"])).1;
    assert!(status().contains("newer refused"), "{}", status());
    // Whoever does not exist today is no mistake.
    host.configure("rules = ['allow out db tcp:h:1 for user:ghost', 'deny out * *']\n");
    assert_eq!(outcome(&mut host.ipc(&["reload"])).0, 0);
    assert!(!status().contains("newer refused"));
}

#[test]
fn what_is_odd_on_the_command_line_keeps_no_file_out_and_what_it_makes_of_a_file_does() {
    let odd = ["--rule", "deny out * *", "--rule", "allow out db tcp:h:1"];
    let host = Host::with_config("rules = 'allow in shop tcp:192.0.2.7'\n", &odd);
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 0, "a reload cannot mend a command line: {said}");
    host.configure("rules = 'allow out web tcp:h:2'\n");
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 78);
    for told in [
        "ipcd.toml:1:10: the rule never decides: `deny out * *` stands before it",
        "that is at command line, rule 1; the first rule that matches decides",
    ] {
        assert!(said.contains(told) && !said.contains("command line, rule 2"), "{said}");
    }
    host.configure("rules = 'allow in web tcp:192.0.2.7'\n");
    assert_eq!(outcome(&mut host.ipc(&["reload"])).0, 0);
}

#[test]
fn about_others_only_administrators_may_ask() {
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let rules = "rules = ['allow out db tcp:h:1 for user:4711', 'allow in db tcp:192.0.2.7']\n";
    let host = Host::with_config(rules, &["--instance", "system"]);
    let ask = |uid: u32, who: &[&str]| {
        let wish: &[&str] =
            if who.contains(&"--from") { &[] } else { &["--network", "db tcp://h:1"] };
        let arguments = [&["why", "db", "--format", "table"], who, wish].concat();
        outcome(&mut as_user(uid, &arguments, &host.rundir()))
    };
    let (code, said, _) = ask(4711, &[]);
    assert!(code == 0 && said.contains("uid 4711"), "{said}");
    assert_eq!(ask(4712, &[]).0, 50);
    // Nobody serves the name here, where the peer would be led.
    for (who, expected) in [(["--as", "user:4711"], 0), (["--from", "tcp:192.0.2.7"], 69)] {
        let (code, _, said) = ask(4711, &who);
        assert_eq!(code, 50);
        assert!(said.contains("ipc: db: denied: only root, the broker's own user"), "{said}");
        let (code, said, errors) = ask(0, &who);
        assert_eq!((code, errors.as_str()), (expected, ""), "{said}");
    }
    let (code, said, _) = ask(0, &["--as", "user:4712"]);
    assert_eq!(code, 50);
    assert!(said.contains("to allow  allow out db tcp:h:1 for user:4712"), "{said}");
    let (code, _, said) = ask(0, &["--from", "gopher:h"]);
    assert_eq!(code, 64);
    assert!(said.contains("there is no such scheme"), "{said}");
}

/// Design section 12: what was asked for by whom, where it leads by which line, and what to write.
#[test]
fn a_denial_names_the_line_that_led_there() {
    let config = "redirects.db = 'tcp://db1.example.com:5432'\n";
    let host = Host::with_config(config, &[]);
    let (code, _, said) = outcome(&mut host.ipc(&["connect", "db"]));
    assert_eq!(code, 50);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "ipc: db: denied: no rule allows it");
    assert!(lines[1].starts_with("  asked by  user "), "{said}");
    let leads = "  leads to  tcp:db1.example.com:5432   (redirect, ";
    assert!(lines[2].starts_with(leads) && lines[2].ends_with("ipcd.toml:1)"), "{said}");
    assert!(lines[3].starts_with("  to allow  allow out db tcp:db1.example.com:5432"), "{said}");
    let wish = "db tcp://db2.example.com:5432";
    let (_, _, said) = outcome(host.ipc(&["connect", "db"]).env("IPC_NETWORK", wish));
    assert!(said.contains("  leads to  tcp:db2.example.com:5432   (IPC_NETWORK)"), "{said}");
}

/// A user who is made while the broker runs is known when he first asks.
#[test]
fn a_rule_about_a_user_who_does_not_exist_wakes_up_when_he_asks() {
    let tools = installed("setpriv").is_some() && installed("unshare").is_some();
    if !has("root, setpriv and unshare", is_root() && tools) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (passwd, rundir) = (place.path().join("passwd"), place.path().join("ipc"));
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::copy("/etc/passwd", &passwd).unwrap();
    let script = "mount --bind \"$1\" /etc/passwd && shift && exec \"$@\"";
    let mut broker = Command::new("unshare");
    broker.args(["--mount", "sh", "-c", script, "sh"]).arg(&passwd);
    broker.arg(program("ipcd").get_program()).arg("--rundir").arg(&rundir);
    broker.args(["--instance", "system", "--log-level", "warn"]);
    broker.args(["--rule", "allow out db tcp:h:1 for user:late"]);
    let _broker = Daemon::start(&mut broker);
    until_broker_answers(&rundir);
    let ask = |uid: u32| {
        let wish = ["why", "db", "--network", "db tcp://h:1"];
        outcome(&mut as_user(uid, &wish, &rundir)).0
    };
    assert_eq!((ask(4711), ask(4712)), (50, 50));
    let mut file = OpenOptions::new().append(true).open(&passwd).unwrap();
    file.write_all(b"late:x:4713:4720::/:/bin/false\n").unwrap();
    assert_eq!((ask(4713), ask(4712)), (0, 50));
}

/// The line is taken as it is printed, and put where it says.
#[test]
fn what_why_prints_to_allow_something_allows_it_where_it_says_and_nowhere_else() {
    let rules = "rules = '''\nallow local other\ndeny local secret* reason \"closed\"\n'''\n";
    let host = Host::with_config(rules, &[]).with_pongd("secrets");
    let why = || outcome(&mut host.ipc(&["why", "secrets", "--format", "table"]));
    let (code, said, _) = why();
    assert_eq!(code, 50);
    let line = said.lines().find_map(|line| line.strip_prefix("  to allow  ")).unwrap();
    let line = line.strip_suffix("     then: ipc reload").unwrap();
    assert!(line.starts_with("allow local secrets for user:"), "{line}");
    let place = line.split_once("   # before ").unwrap().1;
    assert!(place.ends_with("ipcd.toml:3"), "{line}");
    let (_, _, refused) = outcome(&mut host.ipc(&["connect", "secrets"]));
    assert!(refused.contains(&format!("  to allow  {line}     then: ipc reload")), "{refused}");
    host.configure(&rules.replace("\"closed\"\n", &format!("\"closed\"\n{line}\n")));
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert!(code == 78 && said.contains("the rule never decides"), "behind what denies: {said}");
    assert_eq!(why().0, 50);
    host.configure(&rules.replace("deny", &format!("{line}\ndeny")));
    assert_eq!(outcome(&mut host.ipc(&["reload"])).0, 0);
    let (code, said, _) = why();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn why_knows_what_is_there_and_ends_as_connect_does() {
    let rules = "rules = ['deny local shut', 'allow local *']\n";
    let host = Host::with_config(rules, &[]).with_pongd("door").with_registered_pongd("echo");
    let why = |name: &str| outcome(&mut host.ipc(&["why", name, "--format", "table"]));
    let (code, said, _) = why("nothere");
    let verdict = "  verdict   allowed, but nobody serves it here: start nothere, or write a redirect \
                   for it\n";
    assert!(code == 69 && said.contains(verdict) && !said.contains("  bytes"), "{said}");
    assert_eq!(outcome(&mut host.ipc(&["connect", "nothere"])).0, 69);
    let (code, said, _) = why("echo");
    let bytes = "  bytes     direct: the client's own connection is passed on to echo\n";
    assert!(code == 0 && said.contains(bytes), "{said}");
    let (code, said, _) = why("door");
    let bytes = "  bytes     direct: the client connects to door itself\n";
    assert!(code == 0 && said.contains(bytes), "{said}");
    let (code, said, _) = why("shut");
    assert!(code == 50 && !said.contains("serves it"), "of a denial nobody learns more: {said}");
}

#[test]
fn redirects_through_this_host_are_refused_wherever_they_are_read() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ipcd.toml");
    fs::write(&file, "[[redirect]]\nfrom = 'x'\nto = 'tcp://h:1'\ngateway = true\n").unwrap();
    let said = format!("{}:4:1: `gateway`: not in this version: leave it out", file.display());
    let shown = file.to_str().unwrap();
    for (command, arguments) in [
        ("ipcd", &["--check", "--config", shown][..]),
        ("ipcd", &["--config", shown]),
        ("ipc", &["check", "--format", "table", "--config", shown]),
        ("ipc", &["why", "x", "--from", "tcp:192.0.2.1", "--config", shown]),
    ] {
        let mut run = program(command);
        let (code, out, errors) = outcome(run.args(arguments).env("IPC_RUNDIR", place.path()));
        assert_eq!(code, 78);
        assert!(format!("{out}{errors}").contains(&said), "{out}{errors}");
    }
}

#[test]
fn fronts_that_could_not_be_opened_are_found_by_every_check() {
    let place = tempfile::tempdir().unwrap();
    let rundir = place.path().join("run");
    let fronts =
        libipc::rundir::RunDirectory::new(rundir.clone(), libipc::rundir::Instance::Private)
            .fronts();
    let fronts = fronts.to_str().unwrap();
    let file = place.path().join("ipcd.toml");
    let (shown, rundir) = (file.to_str().unwrap(), rundir.to_str().unwrap());
    for (front, fault) in [
        ("/tmp/x".to_owned(), format!("is not below {fronts}")),
        (format!("{fronts}/"), format!("is not below {fronts}")),
        (format!("{fronts}/.lock"), "has the name of the broker's own lock there".to_owned()),
        (format!("{fronts}/x"), String::new()),
    ] {
        fs::write(&file, format!("[services.x]\nfront = '{front}'\n")).unwrap();
        for (command, arguments) in [
            ("ipcd", &["--check", "--config", shown, "--rundir", rundir][..]),
            ("ipc", &["check", "--format", "table", "--config", shown, "--rundir", rundir]),
        ] {
            let (code, out, errors) = outcome(program(command).args(arguments));
            assert_eq!(code, if fault.is_empty() { 0 } else { 78 }, "{front}: {out}{errors}");
            assert!(format!("{out}{errors}").contains(&fault), "{front}: {out}{errors}");
        }
    }
}

#[test]
fn files_that_others_may_write_are_refused_in_the_same_words_by_all_who_read_them() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let (directory, file) = (place.path(), place.path().join("ipcd.toml"));
    let drop_in = directory.join("ipcd.d/10-web.toml");
    fs::create_dir(directory.join("ipcd.d")).unwrap();
    let write = |path: &std::path::Path, mode| {
        let service = if path == file { "x" } else { "y" };
        fs::write(path, format!("rules = 'allow local {service} for user:4711'\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let said = |path: &std::path::Path| {
        let said = "others could have written it: it has to belong to root or to the daemon's user, \
                    and group and others may not write to it";
        (path.to_str().unwrap().to_owned(), said)
    };
    for (modes, named, fault) in [
        ((0o644, 0o644), &file, None),
        ((0o664, 0o644), &file, Some(said(&file))),
        ((0o646, 0o644), &directory.to_owned(), Some(said(&file))),
        ((0o644, 0o666), &directory.to_owned(), Some(said(&drop_in))),
        ((0o644, 0o666), &file, None),
    ] {
        write(&file, modes.0);
        write(&drop_in, modes.1);
        let named = named.to_str().unwrap();
        for (command, arguments) in [
            ("ipcd", &["--check", "--config", named][..]),
            ("ipc", &["check", "--config", named]),
            ("ipc", &["why", "x", "--as", "user:4711", "--config", named]),
        ] {
            let mut run = program(command);
            let (code, out, errors) = outcome(run.args(arguments).env("IPC_RUNDIR", directory));
            assert_eq!(code, if fault.is_some() { 78 } else { 0 }, "{command}: {out}{errors}");
            if let Some((path, said)) = &fault {
                assert!(errors.contains(path) && errors.contains(said), "{command}: {errors}");
                // The owner is right, and what to do is said once.
                assert_eq!(errors.matches("chmod go-w").count(), 1, "{command}: {errors}");
                assert!(!errors.contains("chown"), "{command}: {errors}");
            }
        }
    }
    if nix::unistd::geteuid().is_root() {
        write(&file, 0o644);
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        let mut check = program("ipc");
        let (code, _, errors) = outcome(check.arg("check").arg("--config").arg(&file));
        let name = file.display();
        assert_eq!(code, 78, "{errors}");
        assert!(errors.contains(&format!("chown root {name} && chmod go-w {name}")), "{errors}");
    }
    // What is not in its place yet says nothing of who may write there.
    write(&file, 0o666);
    let mut check = program("ipc");
    let (code, _, errors) = outcome(check.arg("check").arg(&file));
    assert_eq!(code, 0, "{errors}");
}
