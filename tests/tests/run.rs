//! `ipc run`: programs that reach some services and no others, and their proxy.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use ipcd_tests::tls::{Authority, Files};
use ipcd_tests::{Daemon, Host, Setup, binaries, has, installed, is_root, outcome, until};
use nix::sys::signal::Signal;

/// A page over HTTP, or over TLS with a certificate.
const WEB: &str = "
import http.server, ssl, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'the page')
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// A web server that knows nothing of us, and its port.
fn web(files: Option<&Files>) -> (Daemon, u16) {
    let mut command = Command::new("python3");
    command.args(["-c", WEB]).args(files.iter().flat_map(|files| [&files.chain, &files.key]));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Daemon(child), line.trim().parse().unwrap())
}

/// A host that lets everybody go to these ports of `localhost`.
fn host(ports: &[u16]) -> Host {
    let rules = ports.iter().map(|port| format!("allow out localhost tcp:localhost:{port}"));
    let rules: Vec<_> = rules.collect();
    // Services of the system are root's.
    let instance = if is_root() { "system" } else { "private" };
    let mut arguments = vec!["--instance", instance, "--rule", "allow local *"];
    arguments.extend(rules.iter().flat_map(|rule| ["--rule", rule]));
    Host::of(&Setup { arguments: &arguments, ..Setup::default() }).with_tcpd(None)
}

fn ipc() -> String {
    binaries().join("ipc").display().to_string()
}

/// `ipc run --only ONLY --proxy -- sh -c SCRIPT`.
fn proxied(host: &Host, only: &str, script: &str) -> Command {
    host.ipc(&["run", "--only", only, "--proxy", "--", "sh", "-c", script])
}

fn page(port: u16) -> String {
    format!("curl --silent --show-error --max-time 8 http://localhost:{port}/")
}

#[test]
fn what_a_program_starts_reaches_the_programs_names_and_no_others() {
    let host = host(&[]).with_pongd("db").with_pongd("other");
    let script = format!("echo ping | {0} connect db; sh -c '{0} connect other'", ipc());
    let (code, said, errors) =
        outcome(&mut host.ipc(&["run", "--only", "db,log", "--", "sh", "-c", &script]));
    assert_eq!((code, said.as_str()), (50, "ping\n"), "{errors}");
    assert!(errors.contains("this connection is narrowed to db, log"), "{errors}");
    // Rules still decide, and nothing is a name that is none.
    let (code, _, errors) = outcome(&mut host.ipc(&["run", "--only", "a/b", "--", "true"]));
    assert_eq!(code, 64, "{errors}");
    let (code, _, errors) = outcome(&mut host.ipc(&["run", "--only", "a=", "--", "true"]));
    assert_eq!(code, 64, "{errors}");
    assert!(errors.starts_with("ipc: --only: usage: no target stands behind a=\n"), "{errors}");
    let cure = "  to do  write NAME, or NAME=TARGET: db=tcp://db1.example.com:5432\n";
    assert!(errors.ends_with(cure), "{errors}");
}

/// It has no other way to the broker than the connection that it inherits.
#[test]
fn what_a_program_starts_may_ask_why_and_is_told_what_it_may_not() {
    let host = host(&[]).with_pongd("db").with_pongd("log");
    let run = |script: &str| {
        let script = script.replace("ipc ", &format!("{} ", ipc()));
        outcome(&mut host.ipc(&["run", "--only", "db,log", "--", "sh", "-c", &script]))
    };
    let (code, said, errors) = run("ipc why db --format table");
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    assert!(said.contains("decides   allow local *"), "{said}");
    let (code, _, errors) = run("ipc why other");
    assert_eq!(code, 50, "{errors}");
    assert!(errors.ends_with("  to allow  ipc run --only db,log,other -- PROGRAM\n"), "{errors}");
    let (code, _, errors) = run("ipc run --only log -- true");
    assert_eq!(code, 69, "{errors}");
    assert!(errors.contains("nothing else can be inherited from it"), "{errors}");
    let cure = "  to do  name the services where the first program is started\n";
    assert!(errors.ends_with(cure), "{errors}");
    let (code, _, errors) = run("ipc status");
    assert_eq!(code, 50, "it controls nothing, though it is root's: {errors}");
}

#[test]
fn it_needs_no_directory_and_may_be_forbidden_to_open_sockets() {
    if !has("bubblewrap", installed("bwrap").is_some()) {
        return;
    }
    let host = host(&[]).with_pongd("db");
    let hidden = host.place("").display().to_string();
    let script = format!("test -e {hidden}/ipc || echo ping | {} connect db", ipc());
    let (code, said, errors) = outcome(&mut host.ipc(&[
        "run",
        "--only",
        "db",
        "--",
        "bwrap",
        "--unshare-all",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        &hidden,
        "sh",
        "-c",
        &script,
    ]));
    assert_eq!((code, said.as_str()), (0, "ping\n"), "{errors}");
}

#[test]
fn whoever_runs_it_says_where_names_lead_and_the_programs_environment_does_not() {
    let host = host(&[]).with_pongd("db").with_pongd("other");
    let ask = |only: &str, name: &str| {
        let script = format!(
            "test -z \"$IPC_NETWORK$IPC_RUNDIR$IPC_NETWORK_FILE\" || exit 9\n\
             export IPC_NETWORK='{name} unix:///other'; echo ping | {} connect {name}",
            ipc()
        );
        let mut run = host.ipc(&["run", "--only", only, "--", "sh", "-c", &script]);
        outcome(run.env("IPC_NETWORK", "wish unix:///db; elsewhere unix:///nobody"))
    };
    assert_eq!(ask("api=unix:///db", "api").0, 0);
    assert_eq!(ask("wish", "wish").0, 0);
    let (code, _, errors) = ask("elsewhere", "elsewhere");
    assert_eq!(code, 69, "{errors}");
    let (code, _, errors) = ask("api=tls://me:secret@localhost/api", "api");
    assert_eq!(code, 64);
    assert!(errors.contains("--only: usage") && !errors.contains("secret"), "{errors}");
}

#[test]
fn the_programs_exit_code_is_the_commands_with_and_without_a_proxy() {
    let host = host(&[]);
    for proxy in [&[][..], &["--proxy"]] {
        let run = |program: &[&str]| {
            outcome(&mut host.ipc(&[&["run", "--only", "db"], proxy, &["--"], program].concat()))
        };
        assert_eq!(run(&["sh", "-c", "exit 7"]).0, 7);
        for (program, code) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
            let (ended, _, errors) = run(&[program]);
            assert_eq!(ended, code, "{errors}");
            assert!(errors.contains("cannot be started"), "{errors}");
        }
    }
    assert_eq!(outcome(&mut proxied(&host, "db", "kill -KILL $$")).0, 137);
}

#[test]
fn curl_reaches_the_one_place_by_the_proxy_over_https_and_http_and_nothing_by_itself() {
    if !has("root and curl", is_root() && installed("curl").is_some()) {
        return;
    }
    let authority = Authority::new();
    let files = authority.issue("web", &["localhost"]);
    let ((_tls, tls), (_plain, plain)) = (web(Some(&files)), web(None));
    let host = host(&[tls, plain]);
    let secure = format!(
        "curl --silent --show-error --max-time 8 --cacert {} https://localhost:{tls}/",
        authority.certificate().display()
    );
    let only = format!("localhost=tcp://localhost:{tls}");
    let (code, said, errors) = outcome(&mut proxied(&host, &only, &secure));
    assert_eq!((code, said.as_str()), (0, "the page"), "{errors}");
    let (code, said, errors) =
        outcome(&mut proxied(&host, &only, &format!("{secure} --proxy $ALL_PROXY")));
    assert_eq!((code, said.as_str()), (0, "the page"), "{errors}");
    // ALL_PROXY: there is none for http alone.
    let only = format!("localhost=tcp://localhost:{plain}");
    let (code, said, errors) = outcome(proxied(&host, &only, &page(plain)).env("NO_PROXY", "*"));
    assert_eq!((code, said.as_str()), (0, "the page"), "{errors}");
    let script = format!("{} --noproxy '*'; {}", page(plain), page(tls));
    let (code, said, errors) = outcome(&mut proxied(&host, &only, &script));
    assert_eq!((code, said.as_str()), (97, ""), "{errors}");
    assert!(errors.contains("curl: (7)"), "nothing listens there: {errors}");
}

#[test]
fn a_place_that_is_not_the_names_is_refused_with_the_reason() {
    if !has("root and curl", is_root() && installed("curl").is_some()) {
        return;
    }
    let (_web, port) = web(None);
    let host = host(&[port]).with_pongd("here");
    let ask = |only: &str, place: &str| {
        // What the proxy says itself, which curl does not show.
        let script = format!(
            "exec 3<>/dev/tcp/${{HTTPS_PROXY##*://127.0.0.1:}}; :;
             printf 'CONNECT {place} HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3",
        );
        let script = script.replace("/dev/tcp/$", "/dev/tcp/127.0.0.1/$");
        let mut run = host.ipc(&["run", "--only", only, "--proxy", "--", "bash", "-c", &script]);
        outcome(&mut run).1
    };
    let own = format!("localhost:{port}");
    let leads = format!("localhost=tcp://localhost:{port}");
    for (only, place, status, why) in [
        (leads.as_str(), "localhost:1", "403", "ipc: localhost: denied: the name leads to another"),
        (&leads, "127.0.0.1:1", "403", "this connection is narrowed to localhost"),
        ("here", "here:80", "403", "leads to  unix:here"),
        ("localhost=tcp://localhost:1", own.as_str(), "403", "no rule allows it"),
        ("nowhere", "nowhere:80", "502", "unknown service"),
    ] {
        let said = ask(only, place);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{only} {place}: {said}");
        assert!(said.contains(why), "{only} {place}: {said}");
    }
}

#[test]
fn the_proxy_is_where_the_program_is_in_unshare_and_in_bubblewrap() {
    if !has("root, curl and bubblewrap", is_root() && installed("bwrap").is_some()) {
        return;
    }
    let (_web, port) = web(None);
    let host = host(&[port]);
    let (only, page) = (format!("localhost=tcp://localhost:{port}"), page(port));
    let run = format!("{} run --only {only} --proxy", ipc());
    let bwrap = "bwrap --unshare-all --ro-bind / / --dev /dev --proc /proc";
    for script in [
        format!("unshare --net {run} -- {page}"),
        format!("{bwrap} {run} -- {page}"),
        format!("{run} -- {bwrap} --share-net {page}"),
        // A user who may make no network but in a user namespace of his own.
        format!("setpriv --reuid=65534 --regid=65534 --clear-groups {run} -- {page}"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("IPC_RUNDIR", host.rundir()).stdin(Stdio::null());
        let (code, said, errors) = outcome(&mut command);
        assert_eq!((code, said.as_str()), (0, "the page"), "{script}: {errors}");
    }
}

#[test]
fn signals_reach_the_program_and_it_ends_with_the_command() {
    let host = host(&[]);
    let script = "trap 'echo told; exit 9' TERM; echo ready; read -r line";
    let start = || {
        let mut command = proxied(&host, "db", script);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // Its end would end the program too.
        let input = child.stdin.take();
        (Daemon(child), output, input)
    };
    let mut rest = String::new();
    let (mut told, mut output, _input) = start();
    told.signal(Signal::SIGTERM);
    output.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), told.0.wait().unwrap().code()), ("told\n", Some(9)));
    // Killed, it takes the program along: the pipe has no other writer.
    let (mut killed, mut output, _input) = start();
    rest.clear();
    killed.crash();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "told\n");
}

/// Does to the proxy what a hostile program could.
const HOSTILE: &str = "
import os, socket, sys
place = ('127.0.0.1', int(os.environ['https_proxy'].rsplit(':', 1)[1]))
def connect():
    return socket.create_connection(place, timeout=8)
for noise in (b'\\x00' * 9000, b'C' * 9000, b'\\x05\\xff', b'\\x05\\x01\\x00\\x05', b'GET / HTTP/1.1\\r\\n\\r\\n',
              b'CONNECT ' + b'a' * 8000 + b'\\r\\n\\r\\n', b'\\x16\\x03\\x01', b''):
    with connect() as one:
        try:
            one.sendall(noise)
        except OSError:
            pass
silent = [connect() for _ in range(128)]
late = connect()
late.sendall(b'CONNECT localhost:%d HTTP/1.1\\r\\n\\r\\n' % int(sys.argv[1]))
late.settimeout(0.2)
try:
    print('served beyond the limit', late.recv(100))
except TimeoutError:
    pass
silent.pop().close()
late.settimeout(8)
answer = late.recv(100)
assert answer.startswith(b'HTTP/1.1 200 '), answer
late.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
late.shutdown(socket.SHUT_WR)
text = b''
while piece := late.recv(4096):
    text += piece
print(text.decode().splitlines()[-1])
";

#[test]
fn a_hostile_program_gets_128_connections_and_harms_nobody_but_itself() {
    let (_web, port) = web(None);
    let host = host(&[port]);
    let only = format!("localhost=tcp://localhost:{port}");
    let mut run = host.ipc(&["run", "--only", &only, "--proxy", "--", "python3", "-c", HOSTILE]);
    let (code, said, errors) = outcome(run.arg(port.to_string()));
    assert_eq!((code, said.as_str()), (0, "the page\n"), "{errors}");
}

/// Writes much behind the proxy's answer, and ends at once.
const LAST_WORDS: &str = "
import os, socket, sys
place = ('127.0.0.1', int(os.environ['https_proxy'].rsplit(':', 1)[1]))
one = socket.create_connection(place)
one.sendall(b'CONNECT localhost:%d HTTP/1.1\\r\\n\\r\\n' % int(sys.argv[1]))
assert one.recv(100).startswith(b'HTTP/1.1 200 ')
one.sendall(b'x' * (1 << 20))
os._exit(5)
";

#[test]
fn what_a_program_wrote_before_its_end_arrives_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    let host = host(&[port]);
    let only = format!("localhost=tcp://localhost:{port}");
    let mut run = host.ipc(&["run", "--only", &only, "--proxy", "--", "python3", "-c", LAST_WORDS]);
    let (code, _, errors) = outcome(run.arg(port.to_string()));
    assert_eq!(code, 5, "{errors}");
    assert_eq!(counted.join().unwrap(), 1 << 20);
}

#[test]
fn daemons_that_a_broker_started_end_with_it_however_it_ends() {
    let mut host = Host::new(&["--with", "tcpd"]);
    let children = format!("/proc/{0}/task/{0}/children", host.broker.pid());
    until("tcpd runs", || fs::read_to_string(&children).is_ok_and(|text| !text.trim().is_empty()));
    let child = fs::read_to_string(&children).unwrap().trim().to_owned();
    let name = || fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    until("it is tcpd", || name() == "tcpd\n");
    until("tcpd listens", || host.rundir().join("transport/tcp").exists());
    host.broker.crash();
    until("tcpd ends", || {
        !fs::exists(format!("/proc/{child}/exe")).unwrap_or(false) || name().is_empty()
    });
}
