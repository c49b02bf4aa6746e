//! The commands of the documentation, in the order in which a reader gives them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ipcd_tests::container::Container;
use ipcd_tests::packages;

/// A block of commands, on which hosts they are given, and what the last of them prints if the
/// page says it.
struct Step {
    hosts: Vec<String>,
    commands: String,
    output: Option<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let block = block.join("\n") + "\n";
        if let Some(hosts) = kind.strip_prefix("sh on ") {
            let hosts = hosts.split(' ').map(str::to_owned).collect();
            steps.push(Step { hosts, commands: block, output: None });
        } else if kind == "output" {
            steps.last_mut().unwrap().output = Some(block);
        }
    }
    steps
}

/// The two hosts of the pages, which know each other by name.
struct Hosts(BTreeMap<&'static str, Container>);

impl Hosts {
    fn boot() -> Option<Self> {
        let (db1, web1) = (Container::boot()?, Container::boot()?);
        db1.join("192.0.2.10/24", &web1, "192.0.2.11/24", "lan0");
        let names = "192.0.2.10 db1.example.com db1\n192.0.2.11 web1.example.com web1\n";
        for host in [&db1, &web1] {
            host.must(&format!("printf '{names}' >>/etc/hosts"));
            host.copy_packages(packages::built());
        }
        Some(Self(BTreeMap::from([("db1", db1), ("web1", web1)])))
    }

    fn give(&self, step: &Step) {
        for host in &step.hosts {
            let host = &self.0[host.as_str()];
            let (far, local): (Vec<_>, Vec<_>) = step
                .commands
                .lines()
                .partition(|line| line.starts_with("ssh ") || line.starts_with("scp "));
            for line in far {
                self.carry_over(host, line);
            }
            let local = local.join("\n");
            let said = host.run(&format!("cd /var/tmp/packages\nset -e\n{local}"));
            let is_as_shown =
                step.output.as_ref().is_none_or(|output| said.stdout.ends_with(output.as_str()));
            assert!(said.code == 0 && is_as_shown, "{local}\n{said:#?}\n{}", self.journals());
        }
    }

    fn journals(&self) -> String {
        let journal = "journalctl --no-pager --unit 'ipcd*' | tail --lines=20";
        let all =
            self.0.iter().map(|(name, host)| format!("{name}:\n{}", host.run(journal).stdout));
        all.collect()
    }

    /// What `ssh HOST COMMAND` and `scp FILE HOST:FILE` do, without an SSH server.
    fn carry_over(&self, from: &Container, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        if words[0] == "ssh" {
            return self.0[words[1]].must(&words[2..].join(" "));
        }
        let (host, target) = words[2].split_once(':').unwrap();
        let content = from.output(&format!("cat {}", words[1]));
        self.0[host].write(target, &content);
    }
}

#[test]
fn the_page_about_installing_leads_to_an_encrypted_connection() {
    let Some(hosts) = Hosts::boot() else { return };
    for step in &steps("install.md") {
        hosts.give(step);
    }
    let (db1, web1) = (&hosts.0["db1"], &hosts.0["web1"]);
    let ports = db1.output("ss --no-header --listening --tcp");
    assert!(ports.contains(":9001") && !ports.contains(":9000"), "{ports}");
    for host in [db1, web1] {
        host.must("ipc doctor --format table");
    }
    // The page says what can be done without cutting: so it is.
    web1.must("(echo early; sleep 0.1; cat /run/go; echo late) >/dev/null & true");
    for unit in ["ipcd", "ipcd-tlsd"] {
        web1.must(&format!("systemctl reload {unit}; echo more | ipc connect pongd"));
    }
    // The key is nobody's but root's and tlsd's.
    assert_eq!(db1.output("stat --format=%a%U /etc/ipcd/tls/host.key"), "600root\n");
    for user in ["ipcd", "ipcd-tcpd", "nobody"] {
        let key = "$(find /run/credentials -name host.key)";
        assert_ne!(db1.run(&format!("setpriv --reuid {user} --clear-groups cat {key}")).code, 0);
    }
}

/// A web server of a host that knows nothing of ipcd.
const WEB: &str = "
import socket
listener = socket.create_server(('', 8080), reuse_port=True)
other = socket.create_server(('', 8081))
while True:
    client, _ = listener.accept()
    client.recv(4096)
    client.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\na page of db1\\n')
    client.close()
";

/// The two hosts, with packages on web1 and a plain web server on db1.
fn with_web_server() -> Option<Hosts> {
    let hosts = Hosts::boot()?;
    let (db1, web1) = (&hosts.0["db1"], &hosts.0["web1"]);
    db1.write("/usr/local/lib/web.py", WEB);
    db1.must("systemd-run --quiet --unit=web python3 /usr/local/lib/web.py");
    db1.until("ss --listening --tcp --numeric | grep -q :8080");
    web1.must("dpkg --install /var/tmp/packages/*.deb");
    Some(hosts)
}

/// An authority of the fleet, and servers of others on db1 that speak TLS with its certificate.
const TLS_SERVERS: &str = r"
set -e
mkdir --mode=755 /srv/tls; cd /srv/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=fleet \
  -keyout ca.key -out ca.crt 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=db1 -keyout db1.key -out db1.csr 2>/dev/null
printf 'subjectAltName = DNS:db1.example.com\nextendedKeyUsage = serverAuth\n' |
  openssl x509 -req -in db1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile /dev/stdin -out db1.crt 2>/dev/null
echo 'a page over TLS' >page
chown postgres db1.key
systemd-run --quiet --unit=https --property WorkingDirectory=/srv/tls \
  openssl s_server -accept 8443 -cert db1.crt -key db1.key -WWW -quiet
systemd-run --quiet --unit=cache redis-server --port 0 --tls-port 6380 --tls-cert-file /srv/tls/db1.crt \
  --tls-key-file /srv/tls/db1.key --tls-ca-cert-file /srv/tls/ca.crt --tls-auth-clients no \
  --protected-mode no --bind '*' --save ''
bin=$(echo /usr/lib/postgresql/*/bin)
install --directory --owner=postgres /srv/db
setpriv --reuid=postgres --regid=postgres --clear-groups $bin/initdb --no-sync --auth=trust --no-locale -D /srv/db >/dev/null
echo 'hostssl all all 192.0.2.0/24 trust' >/srv/db/pg_hba.conf
systemd-run --quiet --unit=db --uid=postgres $bin/postgres -D /srv/db -c ssl=on -c listen_addresses='*' \
  -c ssl_cert_file=/srv/tls/db1.crt -c ssl_key_file=/srv/tls/db1.key -c fsync=off -k ''
";

/// With servers on db1 that speak TLS, and their authority known to web1.
fn with_tls_servers() -> Option<Hosts> {
    let hosts = with_web_server()?;
    let (db1, web1) = (&hosts.0["db1"], &hosts.0["web1"]);
    db1.must(TLS_SERVERS);
    for port in [8443, 6380, 5432] {
        db1.until(&format!("ss --listening --tcp --numeric | grep -q :{port}"));
    }
    web1.write("/etc/ipcd/tls/fleet-ca.crt", &db1.output("cat /srv/tls/ca.crt"));
    Some(hosts)
}

#[test]
fn the_page_about_nftables_leaves_ipcd_as_the_only_way_out() {
    let Some(hosts) = with_web_server() else { return };
    let pages = steps("nftables.md");
    let can = "setpriv --reuid=www-data --regid=www-data --clear-groups \
         curl --silent --max-time 5 http://db1.example.com:8080/";
    let web1 = &hosts.0["web1"];
    assert_eq!(web1.run(can).code, 0);
    for step in &pages {
        hosts.give(step);
    }
    assert_eq!(web1.run(can).code, 7);
    // Of all rights it has that one, and can do nothing else with it.
    let script = "sed -n 's/^CapEff:[[:space:]]*//p' \
         /proc/$(systemctl show --value --property MainPID ipcd-tcpd)/status";
    assert_eq!(web1.output(script), "0000000000001000\n");
}

#[test]
fn the_page_about_programs_without_a_network_reaches_one_host_alone() {
    let Some(hosts) = with_tls_servers() else { return };
    let web1 = &hosts.0["web1"];
    for step in &steps("no-network.md") {
        hosts.give(step);
    }
    let said = web1.output("journalctl --unit shop --output cat");
    assert!(said.contains("a page of db1"), "{said}");
    assert!(said.contains("ipc: web: denied: no rule allows it"), "{said}");
    assert!(said.contains("curl: (6)") || said.contains("curl: (7)"), "{said}");
    let said = web1.output("journalctl --unit digest --output cat");
    for answer in ["a page over TLS", "PONG", "answer 42"] {
        assert_eq!(said.matches(answer).count(), 1, "{answer}: {said}");
    }
    assert!(said.contains("curl: (6)") || said.contains("curl: (7)"), "{said}");
    let said = web1.output("journalctl --unit report --output cat");
    assert_eq!(said.matches("a page of db1").count(), 1, "{said}");
    assert!(said.contains("curl: (97)"), "{said}");
}
