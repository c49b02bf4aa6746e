//! Services of another host, between two network namespaces.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::path::{Path, PathBuf};
use std::process::Command;

use ipcd_tests::namespace::{FAR_HOSTS, FAR_NAME, FAR_V4, FAR_V6, Namespace, Pair, has_namespaces};
use ipcd_tests::{Host, Setup, outcome, program};

/// The far host, with `pongd` for whoever comes from the near one.
fn far(pair: &Pair) -> Host {
    let arguments = ["--rule", "allow in pongd tcp:10.77.0.1,tcp:[fd77::1]"];
    let namespace = Some(&pair.far);
    Host::of(&Setup { arguments: &arguments, namespace, ..Setup::default() })
        .with_tcpd_at(&[&format!("{FAR_V4}:9000"), &format!("[{FAR_V6}]:9000")])
        .with_pongd("pongd")
}

/// The near host, which may reach all that the far one has.
fn near(pair: &Pair, config: &str, arguments: &[&str]) -> Host {
    let rule =
        format!("allow out * tcp:{FAR_V4}:1-9999,tcp:[{FAR_V6}]:1-9999,tcp:{FAR_NAME}:1-9999");
    let arguments = [&["--rule", rule.as_str()], arguments].concat();
    let namespace = Some(&pair.near);
    Host::of(&Setup { config, arguments: &arguments, namespace, ..Setup::default() })
        .with_tcpd_at(&[])
}

#[test]
fn a_wish_leads_to_the_other_host_by_address_and_by_name() {
    if !has_namespaces() {
        return;
    }
    let pair = Pair::new();
    let (_far, near) = (far(&pair), near(&pair, "", &[]));
    for host in FAR_HOSTS {
        for port in ["", ":9000"] {
            let network = format!("pongd tcp://{host}{port}/pongd");
            assert_eq!(near.ping("pongd", &network), "ping", "{network}");
        }
    }
    let elsewhere = near.ping("pongd", "pongd tcp://10.77.0.3/pongd");
    assert!(elsewhere.starts_with("denied"), "{elsewhere}");
}

#[test]
fn redirects_of_the_command_line_lead_to_the_other_host() {
    if !has_namespaces() {
        return;
    }
    let pair = Pair::new();
    let _far = far(&pair);
    let targets = FAR_HOSTS.map(|host| format!("tcp://{host}/pongd"));
    let names = ["by-v4", "by-v6", "by-name"];
    let redirects = names.iter().zip(&targets);
    let arguments: Vec<&str> =
        redirects.flat_map(|(name, target)| ["--redirect", *name, target.as_str()]).collect();
    let near = near(&pair, "", &arguments);
    for name in names {
        assert_eq!(near.ping(name, ""), "ping", "{name}");
    }
}

#[test]
fn redirects_of_files_lead_to_the_other_host() {
    if !has_namespaces() {
        return;
    }
    let pair = Pair::new();
    let _far = far(&pair);
    for host in FAR_HOSTS {
        let config = format!(
            "[redirects]\nshort = 'tcp://{host}/pongd'\n\
             [[redirect]]\nfrom = 'second'\nto = ['tcp://{host}:9/pongd', 'tcp://{host}/pongd']\n\
             [[redirect]]\nfrom = '*'\nto = 'tcp://{host}/{{name}}'\n"
        );
        let near = near(&pair, &config, &[]);
        assert_eq!(near.ping("short", ""), "ping", "{host}");
        assert_eq!(near.ping("second", ""), "ping", "the first candidate of {host} has no port");
        assert_eq!(near.ping("pongd", ""), "ping", "the default route to {host}");
        let unknown = near.ping("other", "");
        assert!(unknown.ends_with("the far host says no"), "{unknown}");
    }
}

#[test]
fn a_program_without_a_network_reaches_what_is_allowed_and_nothing_else() {
    if !has_namespaces() {
        return;
    }
    let pair = Pair::new();
    let _far = far(&pair);
    let rule = format!("allow out pongd tcp:{FAR_V4}");
    let arguments = ["--rule", rule.as_str()];
    let near =
        Host::of(&Setup { arguments: &arguments, namespace: Some(&pair.near), ..Setup::default() });
    let near = near.with_tcpd_at(&[]);
    let cell = Cell::new(&near);
    let ask = |network: &str| outcome(cell.ipc(&["connect", "pongd"]).env("IPC_NETWORK", network));
    assert_eq!(cell.say("hello", &format!("pongd tcp://{FAR_V4}/pongd")), "hello");
    for elsewhere in
        ["tcp://10.77.0.3/pongd", "tcp://10.77.0.2/other", "tcp://10.77.0.2:9001/pongd"]
    {
        let (code, _, said) = ask(&format!("pongd {elsewhere}"));
        assert_eq!(code, 50, "{elsewhere}: {said}");
    }
    // By itself it reaches not even what it reaches through the broker.
    let direct = format!("exec 3<>/dev/tcp/{FAR_V4}/9000");
    let (code, _, said) = outcome(cell.namespace.command("bash").args(["-c", &direct]));
    assert_ne!(code, 0);
    assert!(said.contains("Network is unreachable"), "{said}");
    let (code, _, said) = outcome(pair.near.command("bash").args(["-c", &direct]));
    assert_eq!(code, 0, "with a network it is reached: {said}");
}

/// An empty network, and a root directory with nothing but `ipc`, its libraries and the run
/// directory of a host.
struct Cell {
    namespace: Namespace,
    root: tempfile::TempDir,
    rundir: PathBuf,
}

impl Cell {
    fn new(host: &Host) -> Self {
        let root = tempfile::tempdir().unwrap();
        let ipc = program("ipc").get_program().to_owned();
        let (code, libraries, _) = outcome(Command::new("ldd").arg(&ipc));
        assert_eq!(code, 0);
        let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for library in paths.map(Path::new) {
            let copy = root.path().join(library.strip_prefix("/").unwrap());
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(library, copy).unwrap();
        }
        std::fs::copy(ipc, root.path().join("ipc")).unwrap();
        std::fs::create_dir_all(root.path().join("run/ipc")).unwrap();
        Self { namespace: Namespace::new(), root, rundir: host.rundir() }
    }

    /// `ipc` in there.
    fn ipc(&self, arguments: &[&str]) -> Command {
        // The mount goes with the mount namespace that `ip netns exec` makes.
        let script = r#"mount --bind "$1" "$2/run/ipc" && cell=$2 && shift 2 && exec chroot "$cell" /ipc "$@""#;
        let mut command = self.namespace.command("bash");
        command.args(["-c", script, "cell"]).arg(&self.rundir).arg(self.root.path());
        command
            .args(arguments)
            .env("IPC_RUNDIR", "/run/ipc")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(std::process::Stdio::null());
        command
    }

    /// What `pongd` answers to a text.
    fn say(&self, text: &str, network: &str) -> String {
        let input = self.root.path().join("input");
        std::fs::write(&input, text).unwrap();
        let mut command = self.ipc(&["connect", "pongd"]);
        command.env("IPC_NETWORK", network).stdin(std::fs::File::open(input).unwrap());
        let (code, answer, said) = outcome(&mut command);
        assert_eq!(code, 0, "{said}");
        answer
    }
}

#[test]
fn a_namespace_goes_even_when_its_test_fails() {
    if !has_namespaces() {
        return;
    }
    let names = std::sync::Mutex::new(Vec::new());
    let failed = std::thread::scope(|scope| {
        let failing = scope.spawn(|| {
            let namespace = Namespace::new();
            namespace.write_etc("hosts", "");
            names.lock().unwrap().push(namespace.name().to_owned());
            std::panic::resume_unwind(Box::new("as a failing test does"));
        });
        failing.join().is_err()
    });
    assert!(failed);
    for name in names.into_inner().unwrap() {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name}");
        assert!(!Path::new("/etc/netns").join(&name).exists(), "{name}");
    }
}
