//! `ipc tls init`: two hosts that have nothing in common, and know each other after three commands.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipcd_tests::{Host, free_port, outcome, program};

/// A host with a configuration directory of its own, as a user has.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("ipcd").join(name)
    }

    fn ipc(&self, words: &[&str]) -> (i32, String, String) {
        let mut command: Command = program("ipc");
        command.args(words).env("XDG_CONFIG_HOME", self.0.path()).env_remove("IPC_RUNDIR");
        outcome(&mut command)
    }

    /// `ipc tls init` with these words: what it prints.
    fn init(&self, words: &[&str]) -> String {
        let (code, printed, errors) = self.ipc(&[&["tls", "init", "--user"], words].concat());
        assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
        printed
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }
}

/// The command for the other host, that `printed` ends in; `name` is how that one reaches this one.
fn command_for_the_other(printed: &str, name: &str) -> Vec<String> {
    let line =
        printed.lines().find_map(|line| line.strip_prefix("  ipc tls init --user ")).unwrap();
    line.replace("NAME", name).split(' ').map(ToOwned::to_owned).collect()
}

/// The lines that are to be written into a file, as they are printed behind `before`.
fn printed_behind<'p>(printed: &'p str, before: &str) -> Vec<&'p str> {
    let lines = printed.lines().skip_while(|line| !line.starts_with(before)).skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect()
}

/// The pin of a key that nobody has.
const OTHER: &str = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn two_hosts_know_each_other_after_three_commands_and_what_is_printed_works() {
    let (near, far) = (Place::new(), Place::new());
    let first = near.init(&[]);
    let words = command_for_the_other(&first, "localhost");
    let second = far.init(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let words = command_for_the_other(&second, "localhost");
    let third = near.init(&words.iter().map(String::as_str).collect::<Vec<_>>());
    for place in [&near, &far] {
        assert_eq!(mode(&place.file("tls/host.key")), 0o600);
        assert_eq!(mode(&place.file("tlsd.toml")), 0o600);
        assert_eq!(mode(&place.file("tls")), 0o700);
    }

    // What the third and the second command print, with a service and a port of this test.
    let port = free_port();
    let here = |line: &str| {
        line.replace("SERVICE", "pongd").replace("localhost/", &format!("localhost:{port}/"))
    };
    let offers = printed_behind(&second, "To offer a service to localhost");
    let listen = printed_behind(&second, "and to listen").join("\n");
    let far_host = Host::with_config(&here(&offers.join("\n")), &[])
        .with_pongd("pongd")
        .with_tlsd(&far.text("tlsd.toml"))
        .with_tcpd_of(&listen.replace("0.0.0.0:9001", &format!("127.0.0.1:{port}")));
    let uses = printed_behind(&third, "To use one of localhost").join("\n");
    let uses = here(&uses).replace("tls:localhost\"", &format!("tls:localhost:{port}\""));
    let near_host =
        Host::with_config(&uses, &[]).with_tlsd(&near.text("tlsd.toml")).with_tcpd(None);
    assert_eq!(near_host.ping("pongd", ""), "ping");

    // A third host, which nobody knows, gets nowhere; and whoever answers for the far one does not
    // either.
    let stranger = Place::new();
    let pin = command_for_the_other(&second, "localhost");
    stranger.init(&pin.iter().map(String::as_str).collect::<Vec<_>>());
    let strange_host =
        Host::with_config(&uses, &[]).with_tlsd(&stranger.text("tlsd.toml")).with_tcpd(None);
    let said = strange_host.ping("pongd", "");
    assert!(said.contains("untrusted") || said.contains("refused"), "{said}");
    drop(far_host);
}

#[test]
fn what_is_there_stays_and_doing_it_again_changes_nothing() {
    let place = Place::new();
    place.init(&[]);
    let key = place.text("tls/host.key");
    let own = "drain-seconds = 3\n";
    fs::write(place.file("tlsd.toml"), own).unwrap();
    let pin = format!("other.example.com={OTHER}");
    place.init(&["--peer", &pin]);
    let text = place.text("tlsd.toml");
    assert!(text.starts_with(own) && text.contains("[trust.\"other.example.com\"]"), "{text}");
    place.init(&["--peer", &pin]);
    assert_eq!((place.text("tlsd.toml"), place.text("tls/host.key")), (text, key));
    // Tables of one's own with the same names are not touched.
    let own = "[certificate.host]\nkey = \"/elsewhere\"\n";
    fs::write(place.file("tlsd.toml"), own).unwrap();
    let (code, _, errors) = place.ipc(&["tls", "init", "--user", "--peer", &pin]);
    assert_eq!(code, 78, "{errors}");
    assert!(errors.contains("by hand") && place.text("tlsd.toml") == own, "{errors}");
}

#[test]
fn programs_read_the_pin_and_people_are_told_of_their_own() {
    let place = Place::new();
    let peer = format!("other.example.com={OTHER}");
    let told = place.init(&["--peer", &peer, "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let pin = told["pin"].as_str().unwrap();
    assert_eq!(told["peers"], serde_json::json!([{ "name": "other.example.com", "pin": OTHER }]));
    assert_eq!(told["key"], place.file("tls/host.key").to_str().unwrap());
    assert_eq!(told["file"], place.file("tlsd.toml").to_str().unwrap());
    let raw = place.init(&["--format", "raw"]);
    assert!(raw.starts_with(&format!("pin\t{pin}\n")), "{raw}");
    assert!(raw.ends_with(&format!("\npeer other.example.com\t{OTHER}\n")), "{raw}");
    let raw = place.init(&["--peer", &format!("key={OTHER}"), "--format", "raw"]);
    let keys = raw.lines().filter(|line| line.starts_with("key\t"));
    assert_eq!(keys.count(), 1, "{raw}");
    let said = place.init(&["--peer", &format!("localhost={pin}")]);
    let known: Vec<_> = said.lines().filter(|line| line.starts_with("It knows ")).collect();
    let expected = [
        format!("It knows other.example.com by {OTHER}"),
        format!("It knows key by {OTHER}"),
        format!("It knows localhost by {pin}, which is its own key"),
    ];
    assert_eq!(known, expected);
}

#[test]
fn what_is_no_host_or_no_pin_is_told() {
    let place = Place::new();
    for (peer, why) in
        [("web1", "a host is written with its pin"), ("web1=x", "a pin is sha256- and 44")]
    {
        let (code, _, errors) = place.ipc(&["tls", "init", "--user", "--peer", peer]);
        assert_eq!(code, 64);
        assert!(errors.contains(why), "{errors}");
    }
}

#[test]
fn the_doctor_sees_a_key_that_is_open_to_others_or_gone() {
    let place = Place::new();
    place.init(&[]);
    let says = || {
        let (_, printed, _) = place.ipc(&["doctor", "--format", "table"]);
        printed
    };
    let key = place.file("tls/host.key");
    assert!(!says().contains("host.key"), "{}", says());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(says().contains("others may read it (mode 0644): chmod 0600"), "{}", says());
    fs::remove_file(&key).unwrap();
    assert!(says().contains("host.key: cannot be read"), "{}", says());
}

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

#[test]
fn the_doctor_sees_certificates_that_end_and_keys_of_other_ones() {
    use ipcd_tests::tls::Authority;
    let (place, authority) = (Place::new(), Authority::new());
    place.init(&[]);
    let ending = |file: &str, end: std::time::SystemTime| {
        let mut params = Authority::ordinary(&["web1.example.com"]);
        params.not_before = (std::time::UNIX_EPOCH + DAY * 1000).into();
        params.not_after = end.into();
        authority.issue_with(file, &params)
    };
    let says = |config: &str| {
        fs::write(place.file("tlsd.toml"), config).unwrap();
        let (code, printed, _) = place.ipc(&["doctor", "--format", "table"]);
        (code, printed)
    };
    let good = authority.issue("good", &["web1.example.com"]);
    assert!(!says(&good.table("host")).1.contains("[certificate.host]"));
    let now = std::time::SystemTime::now();
    let (_, said) = says(&ending("ends", now + DAY * 5).table("host"));
    assert!(said.contains("[certificate.host]: it expires in 4 days: renew it"), "{said}");
    let past = now.checked_sub(DAY * 3).unwrap();
    let (code, said) = says(&ending("ended", past).table("host"));
    assert!(said.contains("[certificate.host]: it has expired 3 days ago: renew it"), "{said}");
    assert_eq!(code, 78);
    let nameless = authority.issue_with("nameless", &Authority::ordinary(&[]));
    let (_, said) = says(&nameless.table("host"));
    assert!(said.contains("[certificate.host]: it is for no name"), "{said}");
    let other = ipcd_tests::tls::Files { key: nameless.key, ..good };
    let (code, said) = says(&other.table("host"));
    assert!(said.contains("the key is not that of the certificate"), "{said}");
    assert_eq!(code, 78);
}

#[test]
fn the_doctor_sees_a_certificate_that_is_for_other_hosts() {
    use ipcd_tests::tls::Authority;
    let (place, authority) = (Place::new(), Authority::new());
    place.init(&[]);
    let says = |names: &[&str], listen: &str| {
        let table = authority.issue("host", names).table("host");
        let listen = format!("[listen.fleet]\ncertificate = 'host'\nclients = 'none'\n{listen}");
        fs::write(place.file("tlsd.toml"), listen + &table).unwrap();
        place.ipc(&["doctor", "--format", "table"]).1
    };
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let said = says(&["elsewhere.example.com"], "");
    let expected = format!("it is for elsewhere.example.com and not for {host}: they write one of");
    assert!(said.contains(&expected), "{said}");
    let own = if host.contains('.') { host } else { format!("{host}.example.com") };
    assert!(!says(&[&own], "").contains("[certificate.host]"));
    // A service that is offered to plain clients has a name of its own.
    let said = says(&["imap.example.com"], "service = 'imap'\n");
    assert!(!said.contains("[certificate.host]"), "{said}");
}
