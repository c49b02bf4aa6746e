use super::*;
use crate::config::CommandLine;
use crate::fixture::{Host, file, rule_argument};

#[test]
fn what_is_in_force_is_shown_with_where_it_stands_and_without_secrets() {
    let early = "rules = 'deny in * udp reason \"unproven\"'\nlimits.clients = 7\nadmin-groups = ['www']\n\
                 [services.db]\nsocket = '/run/db.sock'\n";
    let main = "rules = 'allow out db tls:h:5432'\nadmin-groups = 'users'\n\
                redirects.db = 'tls://u:CANARYP@h:5432/db?pin=sha256-CANARYPIN0000000000000000000000000000000000='\n\
                limits = { clients = 8, dials = 9 }\nservices.db.door = false\nlog.decisions = 'all'\n\
                [[redirect]]\nfrom = 'x-*'\nto = ['y-{name}', 'tcp://{name}.example.com/a']\nfor = 'user:shop'\ninsecure = true\n";
    let sources = Sources {
        command_line: vec![
            rule_argument("allow local x"),
            CommandLine::Redirect { from: "a".into(), to: "b".into() },
        ],
        drop_ins: vec![file("ipcd.d/10.toml", early)],
        main: Some(file("ipcd.toml", main)),
    };
    let lines = dump(&sources, &Host).unwrap();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| match &line.origin {
            Some(origin) => format!("{} @ {origin}", line.text),
            None => line.text.clone(),
        })
        .collect();
    let wanted = [
        "# 1. command line",
        "# 2. ipcd.d/10.toml",
        "# 3. ipcd.toml",
        "rules = '''",
        "allow out db tls:h:5432 @ ipcd.toml:1",
        "deny in * udp:* reason \"unproven\" @ ipcd.d/10.toml:1",
        "allow local x @ command line, rule 1",
        "'''",
        "[[redirect]] @ command line, redirect 1",
        "from = \"a\"",
        "to = [\"b\"]",
        "[[redirect]] @ ipcd.toml:3",
        "from = \"db\"",
        "to = [\"tls://***@h:5432/db?pin=***\"]",
        "[[redirect]] @ ipcd.toml:7",
        "from = \"x-*\"",
        "to = [\"y-{name}\", \"tcp://{name}.example.com/a\"]",
        "for = \"user:shop\"",
        "insecure = true",
        "admin-groups = ['www'] @ ipcd.d/10.toml:3",
        "admin-groups = 'users' @ ipcd.toml:2",
        "[limits]",
        "clients = 7 @ ipcd.d/10.toml:2",
        "dials = 9 @ ipcd.toml:4",
        "[log]",
        "decisions = 'all' @ ipcd.toml:6",
        "[services.db]",
        "socket = '/run/db.sock' @ ipcd.d/10.toml:5",
        "# limits that stand nowhere",
    ];
    assert_eq!(shown[..wanted.len()], wanted);
    assert!(shown.contains(&"# limits.clients-per-user = 1024 @ default".to_owned()), "{shown:#?}");
    assert!(!shown.join("\n").contains("CANARY"));
    let line = Line { text: "a = 1".to_owned(), origin: Some("x:1".to_owned()) };
    assert_eq!(line.to_string(), format!("{:72}  # x:1", "a = 1"));
}
