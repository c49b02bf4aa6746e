//! Logins on an installed system: keys by `ipc tls init`, users by authd, and who may read what.

use ipcd_tests::container::Container;

/// The system reaches itself over TLS, as another host would: two in one.
const CONFIG: &str = r#"
rules = '''
allow local authd for user:ipcd
allow in    pongd tls:* for pin:@PIN@,login:alice
allow out   there tls:localhost
'''
[authentication]
service = "authd"
[redirects]
@REDIRECT@
"#;

/// What asks as nobody, by a redirect whose secret is in a file.
const ASK: &str =
    "echo ping | setpriv --reuid nobody --clear-groups ipc connect there 2>&1 || true";

fn set_up(host: &Container) {
    let printed = host.output("ipc tls init");
    let pin = printed.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let printed = host.output(&format!("ipc tls init --peer localhost={pin}"));
    assert!(printed.contains("systemctl enable ipcd-tlsd-listen.socket"), "{printed}");
    let target = "tls://alice@localhost/pongd?certificate=host&trust=localhost\
                  &secret-file=/etc/ipcd/tls/alice";
    let config = CONFIG.replace("@PIN@", &pin);
    let config = config.replace("@REDIRECT@", &format!("there = \"{target}\""));
    host.write("/etc/ipcd/ipcd.toml", &config);
    host.must("echo 'a secret' | /usr/libexec/ipcd/authd add alice");
    host.must("systemctl enable --now ipcd-authd.socket pongd@pongd.socket");
    host.must("systemctl enable ipcd-tlsd-listen.socket; systemctl restart ipcd-tlsd; ipc reload");
    host.until("ss --no-header --listening --tcp | grep -q :9001");
    host.until("ipc --json status | grep -q '\"name\":\"tls\",\"available\":true'");
}

#[test]
fn an_installed_authd_verifies_logins_and_nobody_else_reads_what_it_knows() {
    let Some(host) = Container::installed() else { return };
    set_up(&host);
    let write = |secret: &str| {
        host.must(&format!(
            "install --mode=600 --owner=ipcd-tlsd /dev/null /etc/ipcd/tls/alice; \
             echo '{secret}' >/etc/ipcd/tls/alice"
        ));
    };
    write("a secret");
    assert_eq!(host.output(ASK), "ping\n", "{}", host.output("journalctl --lines=40 --no-pager"));
    write("no secret");
    let said = host.output(ASK);
    assert!(said.contains("the far host does not accept this login"), "{said}");

    let modes = "stat --format='%a %U' /etc/ipcd/tls/host.key /var/lib/ipcd-authd \
                 /var/lib/ipcd-authd/passwords /run/ipc/services/authd";
    assert_eq!(host.output(modes), "600 ipcd-tlsd\n700 ipcd-authd\n600 ipcd-authd\n666 root\n");
    for user in ["ipcd", "ipcd-tcpd", "ipcd-tlsd", "nobody"] {
        let read =
            format!("setpriv --reuid {user} --clear-groups cat /var/lib/ipcd-authd/passwords");
        assert_ne!(host.run(&read).code, 0, "{user}");
    }
    // Nobody but the broker gets to ask.
    let asked = "setpriv --reuid nobody --clear-groups ipc connect authd </dev/null 2>&1";
    assert_eq!(host.run(asked).code, 50);
    let journal = host.output("journalctl --unit=ipcd-authd --output=cat --no-pager");
    assert!(journal.contains("login-accepted") && journal.contains("login-rejected"), "{journal}");
    let everything = host.output("journalctl --output=export --no-pager");
    assert!(!everything.contains("a secret") && !everything.contains("no secret"));
    assert_eq!(host.output("journalctl --grep sandbox-incomplete --quiet || true"), "");

    // A user who comes counts after a reload; what is wrong keeps those of before.
    host.must("echo other | /usr/libexec/ipcd/authd change alice; systemctl reload ipcd-authd");
    write("other");
    host.until(&format!("[ \"$({ASK})\" = ping ]"));
    host.must("echo damaged >/var/lib/ipcd-authd/passwords; systemctl reload ipcd-authd");
    host.until("journalctl --unit=ipcd-authd --output=cat | grep -q not-reloaded");
    assert_eq!(host.output(ASK), "ping\n");
    let doctor = host.run("ipc doctor --format table");
    assert_eq!((doctor.code, doctor.stdout.as_str()), (0, "nothing is wrong\n"));
}
