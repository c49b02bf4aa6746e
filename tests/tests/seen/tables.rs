//! Status, services and numbers, in every form.

use std::io::Write;
use std::process::{Command, Stdio};

use ipcd_tests::{Host, has, installed, is_root, outcome};
use libipc::listener::Listener;
use libipc::name::ServiceName;
use libipc::rundir::{Instance, RunDirectory};
use serde_json::Value;

fn said(host: &Host, arguments: &[&str]) -> String {
    let (code, said, error) = outcome(&mut host.ipc(arguments));
    assert_eq!(code, 0, "{arguments:?}: {error}");
    said
}

#[test]
fn services_are_listed_with_their_kind_owner_and_clients() {
    let host = Host::with_config("[services.db]\nsocket = '/nonexistent/db'\n", &[]);
    let host = host.with_pongd("pongd");
    assert_eq!(host.ping("pongd", ""), "ping");
    let uid = nix::unistd::geteuid();
    let all: Value = serde_json::from_str(&said(&host, &["--json", "services"])).unwrap();
    let all = all["services"].as_array().unwrap();
    let facts = |one: &Value| {
        format!("{} {} {} {}", one["name"], one["kind"], one["available"], one["clients"])
    };
    let facts: Vec<String> = all.iter().map(facts).collect();
    assert_eq!(facts, [r#""db" "path" false 0"#, r#""pongd" "socket" true 1"#]);
    assert_eq!(all[1]["owner"], uid.as_raw());
    let table = said(&host, &["--format", "table", "services"]);
    let owner = format!("uid {uid}");
    let width = owner.len().max("unknown".len());
    assert_eq!(
        table,
        format!(
            "NAME   KIND    {:width$}  THERE  CLIENTS\n\
             db     path    {:width$}  no     0\n\
             pongd  socket  {owner:width$}  yes    1\n",
            "OWNER", "unknown",
        )
    );
    let raw = said(&host, &["--format", "raw", "services"]);
    assert_eq!(raw.lines().nth(1).unwrap(), format!("pongd\tsocket\t{owner}\tyes\t1"));
}

#[test]
fn root_sees_services_that_the_systems_broker_may_not_list() {
    let with_account = nix::unistd::User::from_name("ipcd").ok().flatten().is_some();
    if !has("root", is_root()) {
        return;
    }
    let host = Host::new(&["--instance", "system"]);
    let directory = RunDirectory::new(host.rundir(), Instance::System);
    let name = ServiceName::new("quiet").unwrap();
    let _listener = Listener::bind_in(&directory, &name).unwrap();
    let all: Value = serde_json::from_str(&said(&host, &["--json", "services"])).unwrap();
    assert_eq!(all["services"][0]["name"], "quiet", "with an account of its own: {with_account}");
    assert_eq!(all["services"][0]["available"], true);
}

#[test]
fn more_services_than_fit_into_one_answer_are_all_listed() {
    let names: Vec<String> = (0..450).map(|number| format!("service-{number:03}")).collect();
    let sections: Vec<String> =
        names.iter().map(|name| format!("[services.{name}]\ndoor = true\n")).collect();
    let host = Host::with_config(&sections.concat(), &[]);
    let all: Value = serde_json::from_str(&said(&host, &["--json", "services"])).unwrap();
    let listed: Vec<&str> = all["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, names);
}

#[test]
fn status_tells_the_live_revision_and_why_a_newer_one_was_refused() {
    let host = Host::with_config("rules = 'allow local pongd for user:nobody-has-this-name'", &[]);
    let host = host.with_pongd("pongd");
    host.configure("rules = 'forbid local pongd'");
    let (code, _, error) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 78);
    assert!(error.contains("the new configuration has problems, the old one stays"), "{error}");
    let status: Value = serde_json::from_str(&said(&host, &["--json", "status"])).unwrap();
    assert_eq!((&status["revision"], &status["rules"]), (&1.into(), &1.into()));
    assert_eq!(status["dormant"][0], "allow local pongd for user:nobody-has-this-name");
    assert_eq!(status["refused"][0]["line"], 1);
    let table = said(&host, &["--format", "table", "status"]);
    for line in [
        "  configuration   revision 1, 1 rules\n",
        "  newer refused   0 s ago; the older one stays until these are mended:\n",
        "ipcd.toml:1:10: a rule begins with allow, deny or permissive\n",
        "  matches nobody  allow local pongd for user:nobody-has-this-name\n",
    ] {
        assert!(table.contains(line), "{line} in {table}");
    }
    host.configure("");
    assert!(said(&host, &["reload"]).starts_with("revision 2 is live\n"));
    let status: Value = serde_json::from_str(&said(&host, &["--json", "status"])).unwrap();
    assert_eq!((&status["refused"], &status["refusedMs"]), (&Value::Array(vec![]), &Value::Null));
}

#[test]
fn every_command_prints_every_form() {
    let host = Host::new(&[]).with_pongd("pongd");
    assert_eq!(host.ping("pongd", ""), "ping");
    for command in ["status", "services", "connections", "metrics"] {
        let json: Value = serde_json::from_str(&said(&host, &["--json", command])).unwrap();
        let pretty = said(&host, &["--format", "pretty", command]);
        let pretty_too: Value = serde_json::from_str(&pretty).unwrap();
        assert!(pretty.contains("\n  \""), "{pretty}");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json), keys(&pretty_too));
        assert!(said(&host, &["--format", "raw", command]).contains(['\t', '{']), "{command}");
        assert!(said(&host, &["--format", "table", command]).contains('\n'), "{command}");
    }
    for command in ["monitor", "connections", "kill", "services", "status", "metrics", "reload"] {
        let help = said(&host, &[command, "--help"]);
        assert!(help.contains("Example"), "{help}");
    }
}

/// Python's own parser of the format, as monitoring systems use it.
const PARSER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
for family in read(sys.stdin.read()):
    for sample in family.samples:
        labels = ','.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))
        print(f'{sample.name}[{labels}] {sample.value:g}')
";

#[test]
fn the_numbers_are_what_a_real_parser_of_openmetrics_reads() {
    // Debian's own: another Python in PATH does not know its modules.
    let python = installed("python3").unwrap_or_default();
    let there = Command::new(&python).args(["-c", "import prometheus_client"]).output();
    if !has("python3-prometheus-client", there.is_ok_and(|output| output.status.success())) {
        return;
    }
    let host = Host::new(&["--rule", "deny local secret"]).with_pongd("pongd").with_pongd("secret");
    assert_eq!(host.ping("pongd", ""), "ping");
    for _ in 0..2 {
        assert!(host.ping("secret", "").starts_with("denied"));
    }
    let text = said(&host, &["metrics"]);
    let mut parser = Command::new(&python);
    let parser = parser.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parser = parser.spawn().unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let read = String::from_utf8(output.stdout).unwrap();
    for sample in [
        "ipcd_decisions_total[direction=local,verdict=allowed] 1\n",
        "ipcd_decisions_total[direction=local,verdict=denied] 2\n",
        "ipcd_decisions_total[direction=in,verdict=busy] 0\n",
        "ipcd_connections[kind=name] 1\n",
        "ipcd_configuration_revision[] 1\n",
        "ipcd_limit[limit=clients] 16384\n",
        "ipcd_limit_used[limit=monitors] 0\n",
        "ipcd_carrier_available[name=tcp] 0\n",
        "ipcd_rules[] 1\n",
    ] {
        assert!(read.contains(sample), "{sample} in {read}");
    }
    let file = host.rundir().parent().unwrap().join("ipcd.prom");
    let written = said(&host, &["metrics", "--textfile", file.to_str().unwrap()]);
    assert_eq!(written, "");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# TYPE ipcd_decisions counter\n") && text.ends_with("# EOF\n"));
    let (code, _, error) = outcome(&mut host.ipc(&["metrics", "--textfile", "/nonexistent/x"]));
    assert_eq!(code, 71);
    assert!(error.ends_with("name a file in a directory that you may write\n"), "{error}");
}
