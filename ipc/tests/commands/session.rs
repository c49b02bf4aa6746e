//! Commands that speak in messages: `listen`, `send`, `echo`, `info`, `ping`, `bench`, and
//! `connect --interactive`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use libipc::session::{ClientOptions, Session};
use libipc::{Address, Channel, Stream};
use nix::sys::signal::Signal;

use crate::place::{Place, Running, run, until};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn connect(path: &str) -> Stream {
    let address: Address = path.parse().unwrap();
    address.connect(std::time::Instant::now() + Duration::from_secs(5)).unwrap()
}

/// What it prints until it ends by itself, and its exit code.
fn ends(mut running: Running) -> (i32, String) {
    let mut said = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    (running.0.wait().unwrap().code().unwrap(), said)
}

#[test]
fn what_is_sent_is_printed_on_a_path_and_under_a_name() {
    let place = Place::new();
    for at in [place.path("inbox.sock"), "inbox".to_owned()] {
        let listen = place.offer("listen", &at, &["--count", "2", "--format", "json"]);
        let (code, said, errors) = run(&mut place.ipc(&["send", &at, "--json", "{\"a\":1}"]), b"");
        assert_eq!((code, said.as_str(), errors.as_str()), (0, "", ""));
        let send = ["send", &at, "--channel", "3", "--file", "-"];
        assert_eq!(run(&mut place.ipc(&send), &[0xff, 0xfe]).0, 0);
        let (code, said) = ends(listen);
        assert_eq!(code, 0);
        let lines: Vec<_> = said.lines().map(json).collect();
        assert_eq!(lines[0]["channel"], 1);
        assert_eq!(lines[0]["channel_name"], "COMMAND");
        assert_eq!(
            (&lines[0]["payload_size"], &lines[0]["payload"]),
            (&7.into(), &"{\"a\":1}".into())
        );
        assert!(lines[0]["peer_id"].as_str().unwrap().starts_with("peer-"));
        assert_eq!(lines[1]["channel_name"], "TELEMETRY");
        assert_eq!(lines[1]["payload"], "<binary 2 bytes>");
        assert!(!Path::new(&at).exists(), "the socket is gone");
    }
}

#[test]
fn raw_messages_are_their_bytes_and_a_filter_hides_others() {
    let place = Place::new();
    let at = place.path("s");
    let options = ["--count", "1", "--format", "raw", "--channels", "300"];
    let listen = place.offer("listen", &at, &options);
    assert_eq!(run(&mut place.ipc(&["send", &at, "--data", "hidden"]), b"").0, 0);
    let shown = ["send", &at, "-c", "300", "--data", "shown\u{1b}"];
    assert_eq!(run(&mut place.ipc(&shown), b"").0, 0);
    assert_eq!(ends(listen), (0, "shown\u{1b}".to_owned()));
}

#[test]
fn an_echo_answers_on_the_same_channel_and_logs() {
    let place = Place::new();
    let at = place.path("s");
    let mut echo = place.offer("echo", &at, &["--channels", "2,300", "--log-format", "json"]);
    for channel in ["2", "300"] {
        let send = ["send", &at, "-c", channel, "--data", "hello", "--wait", "--format", "pretty"];
        let (code, said, _) = run(&mut place.ipc(&send), b"");
        let expected = format!("channel={channel} (");
        assert!(code == 0 && said.starts_with(&expected), "{said}");
        assert!(said.ends_with("payload=hello\n"), "{said}");
    }
    let (code, _, errors) = run(&mut place.ipc(&["send", &at, "-c", "1", "--wait"]), b"");
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("there is no channel that both sides want"), "{errors}");
    let mut log = BufReader::new(echo.0.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let line = json(&line);
    assert_eq!(line["fields"]["message"], "echoing frame");
    assert_eq!((&line["fields"]["channel"], &line["fields"]["size"]), (&2.into(), &5.into()));
}

#[test]
fn no_client_can_end_or_delay_a_service() {
    let place = Place::new();
    let at = place.path("s");
    let echo = place.offer("echo", &at, &["--log-level", "error"]);
    let _silent = connect(&at);
    drop(connect(&at));
    connect(&at).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut idle = Session::connect(connect(&at), &ClientOptions::default()).unwrap();
    let send = ["send", &at, "--data", "still here", "--wait", "--format", "raw"];
    let (code, said, _) = run(&mut place.ipc(&send), b"");
    assert_eq!((code, said.as_str()), (0, "still here"));
    idle.send(Channel::DATA, b"I was only quiet").unwrap();
    assert_eq!(idle.receive().unwrap().payload, "I was only quiet");
    drop(echo);
}

#[test]
fn signals_end_a_service_that_waits_and_remove_its_socket() {
    let place = Place::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        for command in ["listen", "echo"] {
            let at = place.path("s");
            let mut running = place.offer(command, &at, &[]);
            running.signal(signal);
            assert_eq!(running.0.wait().unwrap().code(), Some(0));
            assert!(!Path::new(&at).exists());
        }
    }
}

#[test]
fn a_service_without_descriptors_says_so_and_serves_again_when_there_are_some() {
    // Each peer takes two: with one limit or the other the second of them is the one that is missing.
    for limit in ["30", "31"] {
        let place = Place::new();
        let at = place.path("s");
        let mut echo = Command::new("sh");
        echo.args(["-c", "ulimit -n $0 && exec \"$@\"", limit, env!("CARGO_BIN_EXE_ipc")]);
        echo.args(["echo", &at, "--log-level", "error"]).stderr(Stdio::piped());
        let mut echo = Running(echo.spawn().unwrap());
        until("it serves", || Path::new(&at).exists());
        let many: Vec<Stream> = (0..30).map(|_| connect(&at)).collect();
        let mut line = String::new();
        // From then on nobody reads what it says.
        BufReader::new(echo.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("Too many open files"), "{line}");
        drop(many);
        let send = ["send", &at, "--data", "still here", "--wait", "--format", "raw"];
        let (code, said, errors) = run(&mut place.ipc(&send), b"");
        assert_eq!((code, said.as_str()), (0, "still here"), "{errors}");
    }
}

#[test]
fn a_living_socket_is_never_taken_over() {
    let place = Place::new();
    let at = place.path("s");
    let first = place.offer("echo", &at, &[]);
    let (code, _, errors) = run(&mut place.ipc(&["listen", &at]), b"");
    assert_eq!(code, 71);
    let expected = format!("already running here (pid {})", first.0.id());
    assert!(errors.contains(&expected), "{errors}");
}

#[test]
fn facts_about_a_service_have_the_forms_of_ipcprims() {
    let place = Place::new();
    let at = place.path("s");
    let echo = place.offer("echo", &at, &[]);
    let (code, said, _) = run(&mut place.ipc(&["info", &at, "--format", "json"]), b"");
    let facts = json(&said);
    assert_eq!(
        (code, &facts["connected"], &facts["protocol_version"]),
        (0, &true.into(), &"1.0".into())
    );
    assert_eq!(facts["channels"][3]["name"], "ERROR");
    assert_eq!(facts["peer_credentials"]["pid"], echo.0.id());
    assert!(facts["ping_latency_ms"].as_f64().unwrap() >= 0.0);
    let (_, said, _) = run(&mut place.ipc(&["info", &at, "--format", "table"]), b"");
    assert!(said.starts_with("Connection Info:\n  Peer ID:          peer-"), "{said}");
    let rest = "\n  Protocol:         ipcprims 1.0\n  Channels:         COMMAND (1), DATA (2), \
                TELEMETRY (3), ERROR (4)\n  Ping:             ";
    assert!(said.contains(rest), "{said}");
    let (_, said, _) = run(&mut place.ipc(&["info", &at, "--format", "raw"]), b"");
    assert!(said.starts_with("peer-"), "{said}");
}

#[test]
fn a_service_that_is_being_started_is_waited_for() {
    let place = Place::new();
    let at = place.path("s");
    let mut info = place.ipc(&["info", &at, "--timeout", "10s", "--format", "raw"]);
    let info = Running(info.stdout(Stdio::piped()).spawn().unwrap());
    let _echo = place.offer("echo", &at, &[]);
    let (code, said) = ends(info);
    assert_eq!(code, 0);
    assert!(said.starts_with("peer-"), "{said}");
    let (code, _, errors) =
        run(&mut place.ipc(&["info", &place.path("nobody"), "--timeout", "60ms"]), b"");
    assert_eq!(code, 124);
    assert!(errors.contains("connect timed out after 60ms"), "{errors}");
}

#[test]
fn the_exit_codes_are_those_of_the_table() {
    let place = Place::new();
    let (gone, file) = (place.path("gone"), place.file("file", ""));
    drop(std::os::unix::net::UnixListener::bind(place.path("dead")).unwrap());
    let cases: [(&[&str], i32, &str); 15] = [
        (&["send", &gone], 3, "there is no such socket"),
        (&["send", &place.path("dead")], 1, "nobody answers on it"),
        (&["send", "no name"], 64, "no service name"),
        (&["send", &gone, "--json", "{"], 64, "this is no JSON"),
        (&["send", &gone, "--file", &place.path("none")], 64, "cannot be read"),
        (&["send", &gone, "-c", "0"], 64, "channel 0 is not for the content"),
        (&["send", &gone, "-c", "255"], 64, "5 to 255 are reserved"),
        (&["send", &gone, "--file", "/dev/zero"], 64, "16777216 bytes at most"),
        (&["bench", &gone, "-c", "0"], 64, "channel 0 is not for the content"),
        (&["connect", "x", "--interactive", "-c", "0"], 64, "channel 0 is not for the content"),
        (&["echo", &gone, "--channels", "2,0"], 64, "channel 0 is not for the content"),
        (&["listen", &gone, "--channels", "0"], 64, "channel 0 is not for the content"),
        (&["echo", &gone, "--channels", "5"], 64, "5 to 255 are reserved"),
        (&["send", &gone, "--wait-timeout", "5m"], 64, "write a number of seconds"),
        (&["listen", &file], 71, "is not a socket, and is left as it is"),
    ];
    for (arguments, expected, words) in cases {
        let (code, _, errors) = run(&mut place.ipc(arguments), b"");
        assert_eq!(code, expected, "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn whoever_names_a_file_without_its_directory_is_told_how() {
    let place = Place::new();
    let file = place.file("inbox.sock", "");
    let directory = Path::new(&file).parent().unwrap();
    let said = |name: &str| run(place.ipc(&["send", name]).current_dir(directory), b"").2;
    assert!(said("inbox.sock").contains("\n  for the file here  ./inbox.sock\n"));
    assert!(!said("outbox.sock").contains("for the file"));
}

#[test]
fn a_service_that_does_not_answer_is_given_up() {
    let place = Place::new();
    let at = place.path("s");
    let silent = std::os::unix::net::UnixListener::bind(&at).unwrap();
    for command in
        [&["send", &at, "--wait-timeout", "50ms"][..], &["ping", &at, "--timeout", "50ms"]]
    {
        let (code, _, errors) = run(&mut place.ipc(command), b"");
        assert_eq!(code, 124, "{errors}");
        assert!(errors.contains("timed out: no answer"), "{errors}");
    }
    drop(silent);
    let listen = place.offer("listen", &place.path("mute"), &[]);
    let send = ["send", &place.path("mute"), "--wait", "--wait-timeout", "50ms"];
    assert_eq!(run(&mut place.ipc(&send), b"").0, 124);
    drop(listen);
}

#[test]
fn lines_are_messages_and_answers_are_printed_to_the_last() {
    let place = Place::new();
    let _echo = place.offer("echo", "echo", &[]);
    let mut command = place.ipc(&["connect", "--interactive", "echo", "--format", "pretty"]);
    let (code, said, errors) = run(&mut command, b"one\n\nlast");
    assert_eq!((code, errors.as_str()), (0, ""));
    let payloads: Vec<_> =
        said.lines().map(|line| line.rsplit_once("payload=").unwrap().1).collect();
    assert_eq!(payloads, ["one", "", "last"]);
}

#[test]
fn a_message_is_printed_while_nothing_is_typed() {
    let place = Place::new();
    let _echo = place.offer("echo", "echo", &[]);
    let mut command =
        place.ipc(&["connect", "--interactive", "echo", "-c", "2", "--format", "raw"]);
    let mut running =
        Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut input = running.0.stdin.take().unwrap();
    input.write_all(b"typed\n").unwrap();
    let mut said = [0; 5];
    running.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"typed");
    drop(input);
    assert_eq!(ends(running).0, 0);
}

#[test]
fn ways_there_and_back_are_measured() {
    let place = Place::new();
    let at = place.path("s");
    let _echo = place.offer("echo", &at, &["--log-level", "error"]);
    let (code, said, _) =
        run(&mut place.ipc(&["ping", &at, "--count", "3", "--interval", "1ms", "--json"]), b"");
    let times = json(&said);
    assert_eq!((code, &times["count"]), (0, &3.into()));
    let (code, said, _) = run(&mut place.ipc(&["bench", &at, "--count", "50", "--json"]), b"");
    let figures = json(&said);
    assert_eq!((code, &figures["count"], &figures["size"]), (0, &50.into(), &64.into()));
    let spans = ["least_us", "median_us", "most_us"].map(|name| &times[name]);
    for span in spans.into_iter().chain([&figures["median_us"], &figures["p99_us"]]) {
        assert!(span.as_f64().unwrap() > 0.0);
        let decimals = span.to_string().split_once('.').map(|(_, decimals)| decimals.len());
        assert_eq!(decimals, Some(1), "{span}");
    }
    assert!(figures["messages_per_second"].as_u64().unwrap() > 0);
}

#[test]
fn what_this_program_is_has_the_keys_of_ipcprims() {
    let place = Place::new();
    let mut command = place.ipc(&["envinfo", "--format", "json"]);
    let (code, said, _) = run(command.env("IPC_NETWORK", "a tls://u:secret@h:1/a"), b"");
    let facts = json(&said);
    let keys: Vec<&str> = facts.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "dependencies",
        "environment",
        "features",
        "git_hash",
        "platform",
        "rust_version",
        "schema_id",
        "target",
        "version",
    ];
    assert_eq!((code, keys.as_slice()), (0, expected.as_slice()));
    assert_eq!(facts["platform"]["os"], "linux");
    assert!(facts["environment"]["IPC_RUNDIR"].is_string());
    assert!(!said.contains("secret"), "{said}");
    for fact in [&facts["rust_version"], &facts["dependencies"]["jsonschema"]] {
        let parts = fact.as_str().unwrap().split('.').map(str::parse::<u32>);
        assert_eq!(parts.flatten().count(), 3, "{fact}");
    }
    let (_, said, _) = run(&mut place.ipc(&["envinfo", "--format", "table"]), b"");
    assert!(said.contains("platform:\n  arch: "), "{said}");
}

#[test]
fn the_version_has_every_form() {
    let place = Place::new();
    let number = env!("CARGO_PKG_VERSION");
    let said = |arguments: &[&str]| run(&mut place.ipc(arguments), b"").1;
    assert_eq!(said(&["version"]), format!("ipc {number}\n"));
    let extended = said(&["version", "--extended"]);
    let start = format!("name: ipc\nversion: {number}\ntarget_os: linux\ntarget_arch: ");
    assert!(extended.starts_with(&start), "{extended}");
    assert_eq!(said(&["version", "--format", "raw"]), format!("name\tipc\nversion\t{number}\n"));
    assert!(said(&["version", "--format", "table"]).starts_with(&format!("ipc {number}\n  name ")));
    for form in ["json", "pretty"] {
        let facts = json(&said(&["version", "--extended", "--format", form]));
        assert_eq!((&facts["name"], &facts["version"]), (&"ipc".into(), &number.into()));
        assert_eq!(facts["features"], serde_json::json!(["rendezvous", "schema"]));
    }
    assert_eq!(
        json(&said(&["--json", "version"])),
        serde_json::json!({"name": "ipc", "version": number})
    );
}

#[test]
fn peers_are_served_at_once() {
    let place = Place::new();
    let at = place.path("s");
    let _echo = place.offer("echo", &at, &["--log-level", "error"]);
    let mut sessions: Vec<Session> = (0..50)
        .map(|_| Session::connect(connect(&at), &ClientOptions::default()).unwrap())
        .collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        session.send(Channel::DATA, &[u8::try_from(number).unwrap()]).unwrap();
    }
    for (number, session) in sessions.iter_mut().enumerate().rev() {
        assert_eq!(session.receive().unwrap().payload, [u8::try_from(number).unwrap()][..]);
    }
    until("all are named differently", || {
        let names: std::collections::HashSet<_> =
            sessions.iter().map(|session| &session.negotiated().unwrap().peer_id).collect();
        names.len() == 50
    });
}

#[test]
fn as_many_peers_are_served_at_once_as_the_limit_and_one_more_waits() {
    let place = Place::new();
    let at = place.path("s");
    let _echo = place.offer("echo", &at, &["--log-level", "error"]);
    let session = || Session::connect(connect(&at), &ClientOptions::default()).unwrap();
    let mut sessions: Vec<Session> = (0..256).map(|_| session()).collect();
    let mut late = connect(&at);
    late.write_all(b"G").unwrap();
    let unread = || sys::socket::uncollected(late.as_fd()).unwrap();
    for one in &mut sessions {
        one.send(Channel::DATA, b"x").unwrap();
        assert_eq!(one.receive().unwrap().payload, "x");
    }
    assert!(unread() > 0, "nobody has heard it");
    sessions.pop();
    until("there is a place for it", || unread() == 0);
    let first = sessions.first_mut().unwrap();
    first.send(Channel::DATA, b"y").unwrap();
    assert_eq!(first.receive().unwrap().payload, "y");
}

#[test]
fn what_a_schema_does_not_allow_is_answered_and_the_session_goes_on() {
    let place = Place::new();
    let (at, schemas) = (place.path("s"), place.path("schemas"));
    std::fs::create_dir(&schemas).unwrap();
    let schema = r#"{"type":"object","required":["action"],"properties":{"action":{}}}"#;
    place.file("schemas/command.schema.json", schema);
    let _echo = place.offer("echo", &at, &["--validate", &schemas]);
    let send = |content: &str| {
        run(&mut place.ipc(&["send", &at, "--json", content, "--wait", "--format", "raw"]), b"")
    };
    assert_eq!(send("{\"action\":1}"), (0, "{\"action\":1}".to_owned(), String::new()));
    for wrong in ["{}", "{\"action\":1,\"more\":1}"] {
        let (code, said, _) = send(wrong);
        let start = "{\"error\":\"schema validation error: validation failed on channel 1";
        assert!(code == 60 && said.starts_with(start), "{code} {said}");
    }
    let mut session = Session::connect(connect(&at), &ClientOptions::default()).unwrap();
    session.send(Channel::COMMAND, b"no json").unwrap();
    assert_eq!(session.receive().unwrap().channel, Channel::ERROR);
    session.send(Channel::COMMAND, b"{\"action\":2}").unwrap();
    assert_eq!(session.receive().unwrap().payload, "{\"action\":2}");
    // Whoever has asked is answered.
    let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
    let mut session = Session::connect(connect(&at), &options).unwrap();
    let patience = libipc::Patience::within(Duration::from_secs(10));
    let answer = session.request(b"no json", patience).unwrap();
    assert!(answer.starts_with(b"{\"error\":\"schema validation error: "), "{answer:?}");
    place.file("schemas/data.schema.json", "{");
    let (code, _, errors) =
        run(&mut place.ipc(&["echo", &place.path("t"), "--validate", &schemas]), b"");
    assert_eq!(code, 60);
    assert!(errors.contains("channel 2 (DATA): no JSON"), "{errors}");
}
