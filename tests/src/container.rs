//! A Debian system in a container, with a real systemd as its first process.
//!
//! Booting takes about half a second, so every test has a system of its own, and nothing that it
//! does outlives it: the root is an overlay in memory over a tree that is built once and cached
//! under `target/container`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{binaries, has, installed, is_root, outcome, packages};

/// How long a system may take to boot, on a busy machine.
const BOOT: Duration = Duration::from_secs(60);

/// Systems that this process has booted.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Seconds that one script may take.
const SCRIPT_SECONDS: &str = "90";

/// Packages of every system besides what Debian calls essential.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libnss-systemd,iproute2,procps,curl,\
     nftables,redis-server,postgresql,python3-minimal,openssl";

/// Those of a system with a newer systemd.
const NEWER_PACKAGES: &str = "systemd,systemd-sysv,dbus,libnss-systemd,procps";

/// Servers of these that start by themselves where they are installed, and are not wanted.
const SERVERS: &str = "redis-server.service postgresql.service";

/// A release of Debian, and what is in a system of it.
#[derive(Clone, Copy)]
struct Release {
    name: &'static str,
    packages: &'static str,
    servers: &'static str,
}

const BOOKWORM: Release = Release { name: "bookworm", packages: PACKAGES, servers: SERVERS };

const TRIXIE: Release =
    Release { name: "trixie", packages: NEWER_PACKAGES, servers: "getty.target" };

/// Ends the container and removes its control group as soon as standard input does: also when the
/// test was killed. Arguments: the control group, then the command.
const KEEPER: &str = r#"
group=$1; shift
mkdir "$group" || exit 1
(echo 0 >"$group/cgroup.procs" && exec "$@" </dev/null) &
cat >/dev/null
echo 1 >"$group/cgroup.kill"
wait
tries=0
while ! find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && [ $tries -lt 200 ]; do
  tries=$((tries + 1)); sleep 0.02
done
"#;

/// A running system. It ends when this is dropped.
#[derive(Debug)]
pub struct Container {
    keeper: Child,
    leader: u32,
    _place: tempfile::TempDir,
}

/// What a script did.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Container {
    /// Boots a system, with nothing of ours in it and no network but loopback. `None` where there
    /// is no root or no container program; in CI that is a failure.
    #[must_use]
    pub fn boot() -> Option<Self> {
        Self::boot_of(BOOKWORM)
    }

    /// Boots a system of the release after that, and installs our packages in it.
    #[must_use]
    pub fn newer() -> Option<Self> {
        let this = Self::boot_of(TRIXIE)?;
        this.add_packages(packages::built());
        Some(this)
    }

    fn boot_of(release: Release) -> Option<Self> {
        let can = is_root()
            && ["systemd-nspawn", "mmdebstrap"].iter().all(|name| installed(name).is_some());
        if !has("root, systemd-container and mmdebstrap", can) {
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ipcd-test-{}-{number}", std::process::id());
        let place = tempfile::tempdir().expect("a directory");
        let notify = place.path().join("notify");
        let told = UnixDatagram::bind(&notify).expect("a socket to be told on");
        told.set_read_timeout(Some(BOOT)).expect("a time-out");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(control_groups().join(&name))
            .args([
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--volatile=overlay",
            ])
            .arg("--directory")
            .arg(root(release))
            .args(["--private-network", "--console=pipe", "--notify-ready=yes", "--machine", &name])
            // As outside of a container.
            .arg("--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self")
            .args(["--boot", "systemd.show_status=0"])
            .env("NOTIFY_SOCKET", &notify)
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the container starts");
        let leader = wait_for_boot(&told);
        Some(Self { keeper, leader, _place: place })
    }

    /// Boots a system, and installs our packages in it.
    #[must_use]
    pub fn installed() -> Option<Self> {
        let this = Self::boot()?;
        this.add_packages(packages::built());
        Some(this)
    }

    /// Installs, or upgrades to, all packages of that directory.
    pub fn add_packages(&self, directory: &Path) {
        self.copy_packages(directory);
        self.must("dpkg --install /var/tmp/packages/*.deb");
    }

    /// Copies all packages of that directory to `/var/tmp/packages`.
    pub fn copy_packages(&self, directory: &Path) {
        self.must("rm -rf /var/tmp/packages");
        for entry in fs::read_dir(directory).expect("packages").flatten() {
            let name = entry.file_name();
            let there = self.prepared(&format!("/var/tmp/packages/{}", name.display()));
            fs::copy(entry.path(), there).expect("the package is copied");
        }
    }

    /// Runs a shell script in it as root, to its end.
    #[must_use]
    pub fn run(&self, script: &str) -> Outcome {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=2", SCRIPT_SECONDS, "nsenter", "--all", "--target"]);
        command.arg(self.leader.to_string());
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]);
        command.args(["LANG=C.UTF-8", "sh", "-c", script]);
        let (code, stdout, stderr) = outcome(command.stdin(Stdio::null()));
        Outcome { code, stdout, stderr }
    }

    /// Runs a script that has to succeed; what it wrote to standard output.
    #[must_use]
    pub fn output(&self, script: &str) -> String {
        let Outcome { code, stdout, stderr } = self.run(script);
        assert!(
            code == 0,
            "{script}\nended with {code}\n{stdout}{stderr}\nThe journal:\n{}",
            self.run("journalctl --no-pager --boot | tail --lines=25").stdout
        );
        stdout
    }

    /// Runs a script that has to succeed.
    pub fn must(&self, script: &str) {
        let _output = self.output(script);
    }

    /// Waits until a script succeeds.
    pub fn until(&self, script: &str) {
        let waiting = format!("until {script}; do sleep 0.02; done >/dev/null 2>&1");
        self.must(&format!("timeout 20 sh -c '{}'", waiting.replace('\'', "'\\''")));
    }

    /// Writes a file of root's, with its directories.
    pub fn write(&self, path: &str, text: &str) {
        let there = self.prepared(path);
        let mut file = fs::File::create(&there).expect("a file");
        file.write_all(text.as_bytes()).expect("it is written");
    }

    /// Copies a program into it.
    pub fn install(&self, program: &Path, path: &str) {
        let there = self.prepared(path);
        fs::copy(program, &there).expect("the program is copied");
        fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// The process number of its first process, as this host has it.
    #[must_use]
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// A process of it, by its number there, as this host has it.
    #[must_use]
    pub fn process(&self, number: u32) -> u32 {
        let space = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(self.leader).expect("it runs");
        let is_it = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let there = numbers.and_then(|numbers| numbers.split_whitespace().last());
            there == Some(&number.to_string()) && space(*pid).as_ref() == Some(&own)
        };
        let all = fs::read_dir("/proc").expect("processes").flatten();
        let mut pids = all.filter_map(|one| one.file_name().to_str()?.parse().ok());
        pids.find(is_it).expect("it runs there")
    }

    /// Joins two systems by a cable: each has the interface `name` with that address.
    pub fn join(&self, address: &str, other: &Self, other_address: &str, name: &str) {
        let (one, two) = (self.leader.to_string(), other.leader.to_string());
        let mut cable = Command::new("ip");
        cable.args(["link", "add", name, "netns", &one, "type", "veth"]);
        cable.args(["peer", "name", name, "netns", &two]);
        let (code, _, stderr) = outcome(&mut cable);
        assert_eq!(code, 0, "ip link: {stderr}");
        for (host, address) in [(self, address), (other, other_address)] {
            host.must(&format!(
                "ip address add {address} dev {name} nodad && ip link set {name} up"
            ));
        }
    }

    /// The path as this host has it, with its directories made.
    fn prepared(&self, path: &str) -> PathBuf {
        let there = PathBuf::from(format!("/proc/{}/root{path}", self.leader));
        let directory = there.parent().expect("a path with a directory");
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).expect("directories");
        there
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _status = self.keeper.wait().is_ok();
    }
}

/// The number of the first process, once the system says that it has booted.
fn wait_for_boot(told: &UnixDatagram) -> u32 {
    let mut leader = None;
    let mut buffer = [0; 4096];
    loop {
        let size = told.recv(&mut buffer).expect("the system boots in time");
        let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
        for line in text.lines() {
            if let Some(number) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                leader = number.parse().ok();
            }
            if line == "READY=1" {
                return leader.expect("the container told its first process before");
            }
        }
    }
}

/// Where the control groups of the second version are mounted.
fn control_groups() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mut words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = words.find(|words| words.get(2) == Some(&"cgroup2")).expect("control groups");
    PathBuf::from(mount[1])
}

/// The tree that every system begins with; built where it is not there yet.
fn root(Release { name, packages, servers }: Release) -> PathBuf {
    let target = binaries().parent().expect("target").join("container");
    fs::create_dir_all(&target).expect("a place for the tree");
    let lock = fs::File::create(target.join("lock")).expect("a lock");
    lock.lock().expect("the lock");
    let key = packages.split(',').collect::<Vec<_>>().join("+");
    let (tree, stamp) = (target.join(name), target.join(format!("{name}.packages")));
    if fs::read_to_string(&stamp).is_ok_and(|built| built == key) {
        return tree;
    }
    let _absent = fs::remove_dir_all(&tree).is_err();
    let include = format!("--include={packages}");
    let hook = format!("--customize-hook=systemctl --root=\"$1\" mask {servers}");
    let mut build = Command::new("timeout");
    build.args(["--kill-after=5", "600", "mmdebstrap", "--quiet", "--variant=minbase"]);
    build.args(["--mode=root", &include, &hook, name]).arg(&tree);
    let (code, _, stderr) = outcome(build.stdin(Stdio::null()));
    assert_eq!(code, 0, "mmdebstrap: {stderr}");
    fs::write(&stamp, key).expect("the stamp");
    tree
}
