//! Clients of the installed broker: whose units they are, by the word of the managers that run
//! them.

use ipcd_tests::container::Container;

/// One service under several names, each with rules of its own.
const CONFIG: &str = "rules = '''
allow local shop for unit:shop.service
deny local open for unit:elsewhere.service
allow local open
allow local mine for user:4711,user-unit:shop.service
'''
[redirects]
shop = 'pongd'
open = 'pongd'
mine = 'pongd'
[log]
decisions = 'all'
";

fn host() -> Option<Container> {
    let host = Container::installed()?;
    host.must("for id in 4711 4712; do useradd --uid $id --create-home u$id; done");
    host.write("/etc/ipcd/ipcd.toml", CONFIG);
    host.must("systemctl start pongd@pongd.socket; ipc reload");
    Some(host)
}

/// The exit code of `ipc connect`, as a unit of that name and by those properties.
fn connect(host: &Container, unit: &str, more: &str, service: &str) -> i32 {
    let run = format!("systemd-run --quiet --collect --wait --pipe --unit={unit} {more}");
    host.run(&format!("{run} ipc connect {service} -- true")).code
}

#[test]
fn a_unit_is_reached_by_its_rules_alone() {
    let Some(host) = host() else { return };
    for user in ["--uid=4711", "--uid=4712", "-p DynamicUser=yes"] {
        assert_eq!(connect(&host, "shop", user, "shop"), 0, "{user}");
        assert_eq!(connect(&host, "shops", user, "shop"), 50, "{user}");
        assert_eq!(connect(&host, "elsewhere", user, "open"), 50, "{user}");
        assert_eq!(connect(&host, "shops", user, "open"), 0, "{user}");
    }
    // In a slice of another name, and in one below another.
    let slice = "--uid=4711 --slice=system-shop-deep.slice";
    assert_eq!(connect(&host, "shop", slice, "shop"), 0);
    // A scope is a unit too, and not that service.
    let scope = "systemd-run --quiet --scope --unit=shop.scope --uid=4711";
    assert_eq!(host.run(&format!("{scope} ipc connect shop -- true")).code, 50);
    // Root is let in by the rule behind all others, but for what denies it.
    assert_eq!(connect(&host, "elsewhere", "", "open"), 50);
    let record = host.output("journalctl --unit ipcd --output=cat --no-pager");
    assert!(record.contains("shop.service"), "{record}");
}

#[test]
fn a_unit_of_a_users_manager_is_that_users_alone() {
    let Some(host) = host() else { return };
    // A manager as at a login, without the login.
    host.write(
        "/etc/systemd/system/user@.service.d/plain.conf",
        "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n",
    );
    host.must("systemctl daemon-reload; systemctl start user@4711 user@4712");
    let connect = |id: &str, unit: &str, service: &str| {
        let code = format!("/run/user/{id}/code");
        let ask =
            format!("ipc connect {service} -- true; echo $? >{code}.new; mv {code}.new {code}");
        let ask = ask.replace('$', "$$");
        host.output(&format!(
            "cd /; rm -f {code}; \
             setpriv --reuid={id} --regid={id} --init-groups \
             env HOME=/home/u{id} XDG_RUNTIME_DIR=/run/user/{id} \
             systemd-run --user --quiet --collect --unit={unit} \
             --setenv=IPC_RUNDIR=/run/ipc sh -c '{ask}'; \
             until [ -e {code} ]; do sleep 0.02; done; cat {code}"
        ))
    };
    assert_eq!(connect("4711", "shop", "open"), "0\n");
    assert_eq!(connect("4711", "shop", "shop"), "50\n", "it is no unit of the system");
    assert_eq!(connect("4711", "shop", "mine"), "0\n");
    assert_eq!(connect("4711", "other", "mine"), "50\n");
    assert_eq!(connect("4712", "shop", "mine"), "50\n", "it is another user's");
    // Nor is the system's unit of that name a user's.
    assert_eq!(self::connect(&host, "shop", "--uid=4711", "mine"), 50);
}

#[test]
fn what_a_unit_or_a_container_makes_below_itself_is_not_that_unit() {
    let Some(host) = host() else { return };
    // Whoever may make control groups below his own can give them any name.
    let below = |unit: &str, slice: &str, path: &str, service: &str| {
        let group = format!("/sys/fs/cgroup/{slice}/{unit}.service/{path}");
        let script = format!(
            "mkdir -p {group} && echo $$ >{group}/cgroup.procs && \
             exec setpriv --reuid=4711 --clear-groups ipc connect {service} -- true"
        );
        host.run(&format!(
            "systemd-run --quiet --collect --wait --pipe --unit={unit} --slice={slice} -p Delegate=yes \
             sh -c '{}'",
            script.replace('$', "$$")
        ))
        .code
    };
    let container = "systemd-nspawn@web";
    assert_eq!(below("evil", "system.slice", "shop.service", "shop"), 50);
    assert_eq!(below("evil", "system.slice", "system.slice/shop.service", "shop"), 50);
    assert_eq!(below("shop", "system.slice", "worker", "shop"), 0, "a part of it is it");
    for path in ["payload/system.slice/shop.service", "payload", "system.slice/shop.service"] {
        assert_eq!(below(container, "machine.slice", path, "shop"), 50, "{path}");
        assert_eq!(below(container, "machine.slice", path, "open"), 50, "it may be any unit");
    }
}

/// A process that connects, asks, and then ends or not; another one of its unit hears the answer.
const DYING: &str = r#"
import os, socket, sys
ours, its = socket.socketpair()
if os.fork() == 0:
    s = socket.socket(socket.AF_UNIX)
    s.connect('/run/ipc/ipc')
    s.sendall(b'{"method":"org.ipcd.Broker.Connect","parameters":{"service":"%s","take":["door"]}}\0'
              % sys.argv[1].encode())
    socket.send_fds(its, [b'x'], [s.fileno()])
    if sys.argv[2] == 'lives':
        its.recv(1)
    os._exit(0)
_, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
if sys.argv[2] == 'dies':
    os.wait()
open('/run/asked/asked', 'w').close()
print(socket.socket(fileno=descriptors[0]).recv(4096).decode(), flush=True)
ours.send(b'x')
"#;

#[test]
fn a_process_that_has_ended_is_of_no_unit() {
    let Some(host) = host() else { return };
    host.write("/usr/local/lib/dying.py", DYING);
    host.must("mkdir -m 1777 /run/asked");
    // The broker stands still until the process that has asked has ended, or not.
    let ask = |service: &str, fate: &str| {
        host.output(&format!(
            "cd /run/asked; rm -f asked heard; \
             pid=$(systemctl show --value --property MainPID ipcd); kill -STOP $pid; \
             systemd-run --quiet --collect --wait --unit=shop --uid=4711 \
               -p StandardOutput=file:/run/asked/heard \
               python3 /usr/local/lib/dying.py {service} {fate} & \
             until [ -e asked ]; do sleep 0.02; done; kill -CONT $pid; wait; cat heard"
        ))
    };
    let lives = ask("shop", "lives");
    assert!(lives.contains("\"handoff\":\"door\""), "{lives}");
    for service in ["shop", "open"] {
        // That it was of no unit is not known either: it is denied what any unit is denied.
        let dies = ask(service, "dies");
        assert!(dies.contains("org.ipcd.Broker.Denied"), "{service}: {dies}");
    }
}

#[test]
fn an_unmodified_program_is_named_with_its_unit_behind_a_front() {
    let Some(host) = host() else { return };
    host.write(
        "/etc/ipcd/ipcd.d/web.toml",
        "rules = 'allow local web for unit:shop.service'\n[services.web]\nfront = true\n",
    );
    host.must("ipc reload");
    // Whatever it left unread would be a reset.
    host.write(
        "/usr/local/lib/page",
        "sed -u '/^\\r$/q' >/dev/null; printf 'HTTP/1.0 200 OK\\r\\n\\r\\na page'\n",
    );
    host.must("systemd-run --quiet --unit=web ipc serve web -- sh /usr/local/lib/page");
    host.until("ipc --format table services | grep -q ^web");
    let curl = |unit: &str| {
        host.run(&format!(
            "systemd-run --quiet --collect --wait --pipe --uid=4711 --unit={unit} \
             curl --silent --max-time 9 --unix-socket /run/ipc/front/web http://web/"
        ))
    };
    let said = curl("shop");
    assert_eq!((said.code, said.stdout.as_str()), (0, "a page"), "{}", said.stderr);
    let refused = curl("other");
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    let record = host.output("journalctl --unit ipcd --output=cat --no-pager");
    for unit in ["shop.service", "other.service"] {
        let names_it = |line: &str| line.contains("web") && line.contains(unit);
        assert!(record.lines().any(names_it), "{unit}: {record}");
    }
}

/// Where no rule asks about units, the broker looks at none, and the service may.
#[test]
fn a_service_learns_the_unit_of_its_client_where_the_broker_does_not_ask() {
    let Some(host) = Container::installed() else { return };
    let config =
        "rules = 'allow local *'\n[services.registered]\nfront = true\n[log]\ndecisions = 'none'\n";
    host.write("/etc/ipcd/ipcd.toml", config);
    host.must("ipc reload");
    host.write("/usr/local/lib/unit", "cat >/dev/null; echo \"$IPC_PEER_UNIT\"");
    host.must(
        "systemd-run --quiet --unit=registered ipc serve registered -- sh /usr/local/lib/unit",
    );
    host.until("ipc --format table services | grep -q ^registered");
    host.must(
        "systemd-run --quiet --unit=door --socket-property=ListenStream=/run/ipc/services/door \
         --socket-property=FileDescriptorName=door ipc serve door -- sh /usr/local/lib/unit",
    );
    let asks = |program: &str| {
        let run = "systemd-run --quiet --collect --wait --pipe --unit=shop";
        host.output(&format!("{run} {program} </dev/null"))
    };
    assert_eq!(asks("ipc connect registered"), "shop.service\n");
    assert_eq!(asks("ipc connect door"), "shop.service\n");
    let front = "curl --silent --http0.9 --max-time 9 --unix-socket /run/ipc/front/registered";
    host.write("/usr/local/lib/unit", "sed -u '/^\\r$/q' >/dev/null; echo \"$IPC_PEER_UNIT\"");
    assert_eq!(asks(&format!("{front} http://registered/")), "shop.service\n");
}

#[test]
fn a_broker_of_private_users_refuses_to_start() {
    let Some(host) = Container::installed() else { return };
    let said = host.run(
        "systemd-run --quiet --collect --wait --pipe -p PrivateUsers=yes ipcd --rundir /run/private-ipc",
    );
    assert_eq!(said.code, 78, "{}", said.stderr);
    assert!(said.stderr.contains("run without PrivateUsers="), "{}", said.stderr);
}
