//! What a peer calls us, what it has proven, and what it wants: three different things.

use std::path::Path;
use std::process::Command;

use ipcd_tests::tls::{Authority, Files};
use ipcd_tests::{Host, free_port, outcome};

/// Clients of Python's, which call the server what they like: PORT CA, and then for each of them
/// NAME CHAIN KEY SERVICE. It tells what each request came to.
const CLIENTS: &str = "
import json, socket, ssl, sys
port, ca, *all = sys.argv[1:]
def ask(name, chain, key, service):
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.set_alpn_protocols(['ipc/1'])
    if chain:
        context.load_cert_chain(chain, key)
    wanted = {'service': service, 'hops': 1}
    call = {'method': 'org.ipcd.Tunnel.Open', 'parameters': wanted, 'upgrade': True}
    plain = socket.create_connection(('127.0.0.1', int(port)), timeout=60)
    with context.wrap_socket(plain, server_hostname=name or None) as stream:
        stream.sendall(json.dumps(call).encode() + b'\\0')
        answer = b''
        while not answer.endswith(b'\\0'):
            more = stream.recv(1)
            if not more:
                raise ConnectionError
            answer += more
        if 'error' in json.loads(answer[:-1]):
            return 'no'
        stream.sendall(b'ping')
        return stream.recv(4).decode()
for first in range(0, len(all), 4):
    try:
        print(ask(*all[first:first + 4]))
    except (ssl.SSLError, ConnectionError):
        print('nobody')
";

/// A host that offers `pongd` to web1, and `payroll` to web2.
fn host(authority: &Authority, port: u16) -> Host {
    let ca = authority.certificate();
    let files = authority.issue("far", &["web1.example.com", "web2.example.com"]);
    let rules = ["allow in pongd tls:web1.example.com", "allow in payroll tls:web2.example.com"];
    Host::new(&["--rule", rules[0], "--rule", rules[1]])
        .with_pongd("pongd")
        .with_pongd("payroll")
        .with_tlsd(&format!(
            "[listen.fleet]\ncertificate = 'host'\nclients = 'fleet'\n\
             [trust.fleet]\nca = \"{}\"\n{}",
            ca.display(),
            files.table("host")
        ))
        .with_tcpd_of(&format!("[listen.fleet]\naddress = '127.0.0.1:{port}'\nthen = 'tls'\n"))
}

#[test]
fn who_a_peer_is_and_what_it_wants_decide_and_never_what_it_calls_us() {
    let (authority, port) = (Authority::new(), free_port());
    let _host = host(&authority, port);
    let web1 = authority.issue("web1", &["web1.example.com"]);
    let web2 = authority.issue("web2", &["web2.example.com"]);
    let mut client = Command::new("python3");
    client.args(["-c", CLIENTS, &port.to_string()]).arg(authority.certificate());
    let mut expected = Vec::new();
    for name in ["web1.example.com", "web2.example.com", ""] {
        for (who, shown) in [("web1", Some(&web1)), ("web2", Some(&web2)), ("no one", None)] {
            for service in ["pongd", "payroll", "nowhere"] {
                let nothing = Path::new("");
                let files = shown.map_or([nothing; 2], |Files { chain, key, .. }| [chain, key]);
                client.arg(name).args(files).arg(service);
                let answer = match (who, service) {
                    ("no one", _) => "nobody",
                    ("web1", "pongd") | ("web2", "payroll") => "ping",
                    _ => "no",
                };
                expected.push(format!("{who} calls us {name:?}, asks for {service}: {answer}"));
            }
        }
    }
    let (code, said, errors) = outcome(&mut client);
    assert_eq!((code, expected.len()), (0, 27), "{errors}");
    let answers: Vec<_> = said.lines().collect();
    assert_eq!(answers.len(), expected.len(), "{said}");
    for (expected, answer) in expected.iter().zip(answers) {
        assert!(expected.ends_with(&format!(": {answer}")), "{expected}, and it is {answer}");
    }
}
