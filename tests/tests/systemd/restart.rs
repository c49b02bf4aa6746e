//! Daemons that end and start again, while clients are at it.

use std::path::Path;

use ipcd_tests::container::Container;

/// A server that knows nothing of ipcd: an echo over TCP.
const ECHO: &str = "
import socket, _thread
def echo(client):
    while data := client.recv(4096):
        client.sendall(data)
    client.close()
listener = socket.create_server(('', 7000), backlog=1024)
while True:
    _thread.start_new_thread(echo, (listener.accept()[0],))
";

/// The services that clients ask for: two of this host, one that listens and one that has
/// registered, and one over TCP.
const SERVICES: [&str; 3] = ["pongd", "registered", "far"];

/// How often a daemon is ended. `IPCD_ENDS=1000` for a longer run.
fn ends(usual: u32) -> u32 {
    std::env::var("IPCD_ENDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A host with clients at full rate.
struct Loaded(Container);

/// What clients tell at the end.
struct Told {
    made: u64,
    failed: u64,
    slowest_ms: u64,
    text: String,
}

impl Loaded {
    fn start() -> Option<Self> {
        let host = Container::installed()?;
        host.install(Path::new(env!("CARGO_BIN_EXE_load")), "/usr/local/bin/load");
        host.write("/usr/local/lib/echo.py", ECHO);
        host.write(
            "/etc/ipcd/ipcd.toml",
            "rules = 'allow out far tcp:127.0.0.1:7000'\n[redirects]\nfar = 'tcp://127.0.0.1:7000'\n",
        );
        host.must(
            "systemd-run --quiet --unit=echo python3 /usr/local/lib/echo.py; \
             systemd-run --quiet --unit=registered /usr/libexec/ipcd/pongd registered; \
             systemctl start pongd@pongd.socket; ipc reload",
        );
        for name in SERVICES {
            host.until(&format!("ipc connect {name} </dev/null"));
            host.must(&format!(
                "systemd-run --quiet --unit=load-{name} \
                 sh -c 'exec load {name} 2 /run/{name}.end >/run/{name}.told 2>&1'"
            ));
        }
        Some(Self(host))
    }

    /// Ends the clients of a service, and hears what they tell.
    fn told(&self, name: &str) -> Told {
        self.0.must(&format!("touch /run/{name}.end"));
        self.0.until(&format!("! systemctl --quiet is-active load-{name}"));
        let text = self.0.output(&format!("cat /run/{name}.told"));
        // Bytes that were lost end the program before it can tell.
        let told: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_default();
        assert!(told.is_object(), "{text}");
        let number = |key: &str| told[key].as_u64().unwrap();
        let (made, failed, slowest_ms) = (number("made"), number("failed"), number("slowest"));
        eprintln!("{name}: {made} connections, {failed} failed, the slowest took {slowest_ms} ms");
        Told { made, failed, slowest_ms, text }
    }
}

#[test]
fn a_broker_that_is_restarted_refuses_nobody_and_cuts_nothing() {
    let Some(host) = Loaded::start() else { return };
    for _ in 0..ends(100) {
        host.0.must("systemctl restart ipcd");
    }
    for name in SERVICES {
        let told = host.told(name);
        assert_eq!(told.failed, 0, "{}", told.text);
        assert!(told.made > 100, "{}", told.text);
        // It held in twelve runs with loads of 5 to 16 on two processors: 385 ms at most.
        assert!(told.slowest_ms <= 500, "{}", told.text);
    }
}

#[test]
fn who_has_registered_and_who_waits_outlive_the_broker() {
    let Some(host) = Container::installed() else { return };
    host.must("systemd-run --quiet --unit=registered /usr/libexec/ipcd/pongd registered");
    host.until("echo ping | ipc connect registered | grep -q ping");
    let socket = || {
        host.output(
            "pid=$(systemctl show --value --property MainPID registered); \
             readlink /proc/$pid/fd/* | grep ^socket: | sort",
        )
    };
    let before = socket();
    // One that waits as anybody, and one that may ask for this name alone.
    for (unit, run) in [("one", ""), ("two", "ipc run --only late --timeout 60 --")] {
        host.must(&format!(
            "systemd-run --quiet --unit={unit} sh -c \
             'echo {unit} | {run} sh -c \"ipc connect late --wait --timeout 60 && \
              ipc connect late </dev/null\" >/run/{unit}.heard 2>&1'"
        ));
    }
    // The service, each of the two, what the second inherited, and whoever asks about them.
    let waiting = "ipc --json status | grep -q '\"clients\":5,'";
    host.until(waiting);
    for _ in 0..3 {
        host.must("systemctl restart ipcd; echo ping | ipc connect registered | grep -q ping");
        host.until(waiting);
    }
    // Nobody but the client itself and the broker has the client's connection.
    host.must("systemd-run --quiet --unit=late /usr/libexec/ipcd/pongd late");
    host.until("grep -q one /run/one.heard && grep -q two /run/two.heard");
    host.until("! systemctl --quiet is-active one two");
    // A crash leaves the service where it is.
    host.must("systemctl kill --signal=KILL ipcd");
    host.until("echo ping | ipc connect registered | grep -q ping");
    assert_eq!(socket(), before);
    // A service that ends is gone at once, though the service manager had a copy.
    host.must("systemctl stop registered");
    host.until("! ipc connect registered </dev/null");
    // And a broker that is stopped ends what it kept.
    host.must("systemctl stop ipcd.socket ipcd");
    host.until("[ -z \"$(ss -xH state established src /run/ipc/ipc)\" ]");
}

#[test]
fn daemons_that_are_killed_are_back_within_a_second_and_cut_nothing() {
    let Some(host) = Loaded::start() else { return };
    for unit in ["ipcd", "ipcd-tcpd"] {
        for turn in 0..ends(20) {
            // Moments that no loop is in step with.
            let pause = f64::from(turn * 7919 % 50) / 1000.0;
            host.0.must(&format!(
                "sleep {pause}; systemctl kill --signal=KILL {unit}; \
                 timeout 5 sh -c 'until ipc connect far --timeout 1 </dev/null; do :; done'"
            ));
        }
    }
    for name in SERVICES {
        let told = host.told(name);
        // Who was being served when it ended hears so, at once.
        assert!(told.failed <= u64::from(ends(20)) * 2 * 4, "{}", told.text);
        assert!(told.made > told.failed * 2, "{}", told.text);
    }
}

#[test]
fn a_daemon_that_hangs_is_ended_by_the_watchdog_and_is_back_and_cuts_nothing() {
    let Some(host) = Loaded::start() else { return };
    let units = ["ipcd", "ipcd-tcpd", "ipcd-tlsd"];
    for unit in units {
        let place = format!("/run/systemd/system/{unit}.service.d/soon.conf");
        // Ten seconds as it is installed.
        host.0.write(&place, "[Service]\nWatchdogSec=1s\n");
    }
    host.0.must("systemctl daemon-reload; systemctl restart ipcd ipcd-tcpd ipcd-tlsd");
    let all = |unit: &str| format!("systemctl kill --signal=STOP {unit}");
    // Of tlsd also the first process alone, and the one alone that serves.
    let first = "systemctl kill --kill-whom=main --signal=STOP ipcd-tlsd".to_owned();
    let serving = "kill -STOP $(pgrep --full 'generation 1$')".to_owned();
    let cases = [
        ("ipcd", all("ipcd"), 1),
        ("ipcd-tcpd", all("ipcd-tcpd"), 1),
        ("ipcd-tlsd", all("ipcd-tlsd"), 1),
        ("ipcd-tlsd", first, 2),
        ("ipcd-tlsd", serving, 3),
    ];
    for (unit, stop, times) in cases {
        host.0.until("ipc connect far --timeout 1 </dev/null");
        let pid = format!("systemctl show --value --property MainPID {unit}");
        let before = host.0.output(&pid);
        host.0.must(&stop);
        host.0.until(&format!("[ $({pid}) != 0 ] && [ $({pid}) != {} ]", before.trim()));
        host.0.until(&format!("systemctl --quiet is-active {unit}"));
        let why = format!("journalctl --unit {unit} --output cat | grep -c 'Watchdog timeout'");
        assert_eq!(host.0.output(&why), format!("{times}\n"), "{stop}");
    }
    host.0.until("ipc connect far --timeout 1 </dev/null");
    for name in SERVICES {
        let told = host.told(name);
        assert!(told.failed <= 2 * 4 * 3, "{}", told.text);
        assert!(told.made > 100, "{}", told.text);
    }
}

/// A way to pongd and back over TLS, both ends of which are this host's tlsd.
const OVER_TLS: &str = r#"
set -e
mkdir --parents /etc/ipcd/tls; cd /etc/ipcd/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=own \
  -keyout ca.key -out ca.crt 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=host -keyout host.key -out host.csr 2>/dev/null
printf 'subjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\n' |
  openssl x509 -req -in host.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile /dev/stdin -out host.crt 2>/dev/null
chown ipcd-tlsd host.key; chmod 600 host.key
cat >/etc/ipcd/tlsd.toml <<'END'
drain-seconds = 1
[certificate.host]
chain = "/etc/ipcd/tls/host.crt"
key = "/etc/ipcd/tls/host.key"
[trust.own]
ca = "/etc/ipcd/tls/ca.crt"
[dial]
trust = "own"
[listen.fleet]
certificate = "host"
clients = "none"
END
cat >/etc/ipcd/ipcd.toml <<'END'
rules = '''
allow in pongd tls for anonymous
allow out far tls:localhost:9001
'''
[redirects]
far = 'tls://localhost:9001/pongd'
END
systemctl start pongd@pongd.socket
systemctl enable --quiet ipcd-tlsd-listen.socket
systemctl restart ipcd-tlsd ipcd
"#;

#[test]
fn a_reload_of_tlsd_takes_a_new_program_and_the_one_before_finishes() {
    let Some(host) = Container::installed() else { return };
    host.must(OVER_TLS);
    host.install(Path::new(env!("CARGO_BIN_EXE_load")), "/usr/local/bin/load");
    host.until("echo ping | ipc connect far | grep -q ping");
    let host = Loaded(host);
    host.0.must(
        "systemd-run --quiet --unit=load-far sh -c 'exec load far 2 /run/far.end >/run/far.told 2>&1'",
    );
    host.0.until("ipc --json status | grep -q '\"relays\":[4-9]'");
    let serving = |number: usize| format!("pgrep --full 'generation {number}$'");
    let turns = usize::try_from(ends(20)).unwrap();
    for turn in 2..turns + 2 {
        // As an upgrade does it: another file under the same name.
        host.0.must(
            "cd /usr/libexec/ipcd; cp tlsd tlsd.new; mv tlsd.new tlsd; systemctl reload ipcd-tlsd",
        );
        host.0.until(&serving(turn));
        host.0.until(&format!("! {}", serving(turn - 1)).replace(
            "! ",
            // The first one has connections that are kept.
            if turn == 2 { "" } else { "! " },
        ));
    }
    // The first generation finishes as long as the clients have what it relays.
    let finishing = "ipc --json status | grep -q 'tls, generation 1, finishing'";
    host.0.must(finishing);
    let told = host.told("far");
    assert_eq!(told.failed, 0, "{}", told.text);
    assert!(told.made > 100, "{}", told.text);
    host.0.until(&format!("! {finishing}"));
    host.0.until(&format!("! {}", serving(1)));
    assert_eq!(host.0.output("pgrep --count tlsd"), "2\n");

    // What cannot be started changes nothing.
    host.0.must("cp /etc/ipcd/tlsd.toml /run/good; echo nonsense >/etc/ipcd/tlsd.toml");
    host.0.must("systemctl reload ipcd-tlsd");
    host.0.until("journalctl --unit ipcd-tlsd --output cat | grep -q 'generation-over.*78'");
    host.0.must("echo ping | ipc connect far | grep -q ping; cp /run/good /etc/ipcd/tlsd.toml");

    end_what_a_finishing_generation_relays(&host.0);

    // A restart cuts, and says so.
    host.0.must(
        "mkfifo /run/words; systemd-run --quiet --unit=client sh -c 'ipc connect far </run/words'",
    );
    host.0.must("(echo before; sleep 30) >/run/words 2>&1 & echo $! >/run/holder");
    host.0.until(
        "ipc --json status | grep -q '\"name\":\"tls\",\"available\":true,\"relays\":[1-9]'",
    );
    host.0.must("systemctl restart ipcd-tlsd; kill $(cat /run/holder)");
    host.0.until("journalctl --output cat | grep -q 'cut.*connections=[1-9]'");
    host.0.until("! systemctl --quiet is-active client");
    host.0.must("echo ping | ipc connect far | grep -q ping");
}

/// An administrator can end it by its number, though that generation accepts nobody any more.
fn end_what_a_finishing_generation_relays(host: &Container) {
    host.must(
        "mkfifo /run/first; systemd-run --quiet --unit=first sh -c 'ipc connect far </run/first'",
    );
    host.must("(echo before; sleep 60) >/run/first 2>&1 & echo $! >/run/first.holder");
    host.until(
        "ipc --json status | grep -q '\"name\":\"tls\",\"available\":true,\"relays\":[1-9]'",
    );
    host.must("systemctl reload ipcd-tlsd");
    host.until("ipc --json status | grep -q 'finishing'");
    host.must("systemctl --quiet is-active first");
    // Both ends are this host's: with the one the other is over.
    host.must(
        "ended=0; for id in $(ipc --json connections | grep -o '\"id\":[0-9]*' | cut -d: -f2); \
         do ipc kill $id && ended=1; done; [ $ended = 1 ]",
    );
    host.until("! systemctl --quiet is-active first");
    host.until("! ipc --json status | grep -q 'finishing'");
    host.must("kill $(cat /run/first.holder)");
    // A broker that goes on looking for what has finished turns for ever, and a debug build ends.
    host.must("echo ping | ipc connect far | grep -q ping");
    host.must("! journalctl --unit ipcd --output cat | grep 'for ever'");
}

#[test]
fn a_tlsd_that_hangs_is_replaced_by_a_reload_too() {
    let Some(host) = Container::installed() else { return };
    host.must(OVER_TLS);
    host.until("echo ping | ipc connect far | grep -q ping");
    host.must("pkill --signal=STOP --full 'generation 1$'; systemctl reload ipcd-tlsd");
    host.until("echo ping | ipc connect far --timeout 1 | grep -q ping");
    let said = host.output("journalctl --unit ipcd-tlsd --output cat");
    assert!(said.contains("generation-hangs number=1"), "{said}");
    assert!(!said.contains("Watchdog timeout"), "{said}");
}

#[test]
fn a_users_own_tlsd_is_reloaded_without_an_end_too() {
    let Some(host) = Container::installed() else { return };
    // A manager as at a login, without the login.
    host.write(
        "/etc/systemd/system/user@.service.d/plain.conf",
        "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n",
    );
    host.must(
        "useradd --uid 4711 --create-home u4711; \
         mkdir --parents /run/user/4711; chown 4711: /run/user/4711; \
         systemctl daemon-reload; systemctl start user@4711",
    );
    let user = |command: &str| {
        format!(
            "cd /; setpriv --reuid=4711 --regid=4711 --init-groups env HOME=/home/u4711 \
             XDG_RUNTIME_DIR=/run/user/4711 IPC_RUNDIR=/run/user/4711/ipc {command}"
        )
    };
    host.must(&user("systemctl --user start ipcd.socket ipcd-tcpd.socket ipcd-tlsd.socket"));
    let carries = |daemon: &str| {
        user("ipc --json status")
            + &format!(" | grep -q '\"name\":\"{daemon}\",\"available\":true'")
    };
    // The broker looks for both, which starts them.
    host.until(&carries("tcp"));
    host.until(&carries("tls"));
    let pid = user("systemctl --user show --value --property MainPID ipcd-tlsd");
    let first = host.output(&pid);
    for turn in 2..5 {
        host.must(&user("systemctl --user reload ipcd-tlsd"));
        host.until(&format!("pgrep --uid 4711 --full 'generation {turn}$'"));
        host.until(&format!("! pgrep --uid 4711 --full 'generation {}$'", turn - 1));
        host.until(&carries("tls"));
    }
    assert_eq!(host.output(&pid), first);
}
