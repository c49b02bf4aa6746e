//! `tcpd.toml`: where to listen, and for what.

use std::net::SocketAddr;

use libipc::name::ServiceName;
use settings::{Problem, Section, Text, Value};

/// What the file says. Holding one is the proof that it was valid.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Config {
    /// The tables `[listen.NAME]`.
    pub(crate) listen: Vec<Listen>,
}

/// One table `[listen.NAME]`.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Listen {
    /// Its name.
    pub(crate) name: String,
    /// Where to listen; without it, a socket of that name is inherited.
    pub(crate) address: Option<SocketAddr>,
    /// What is offered there to plain clients, who say no hello and hear no yes.
    pub(crate) service: Option<ServiceName>,
    /// The scheme that connections go on by, up its stack.
    pub(crate) then: Option<Then>,
}

/// How a connection goes on that has come over TCP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// TLS next.
    Tls,
}

impl Then {
    /// The scheme, as the broker knows it.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "tls",
        }
    }
}

impl Config {
    /// Reads the text of the file that people know as `file`.
    ///
    /// # Errors
    ///
    /// All problems of the file.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        settings::read(file, text, |mut root| {
            let listen = root.section("listen").map(read_listen).unwrap_or_default();
            Self { listen }
        })
    }
}

fn read_listen(mut section: Section<'_>) -> Vec<Listen> {
    let entries = section.entries().into_iter();
    entries.filter_map(|(name, value)| read_one(&name, &value)).collect()
}

fn read_one(name: &Text, value: &Value<'_>) -> Option<Listen> {
    let mut section = value.section()?;
    let then = section.value("then").and_then(|value| value.word(&[("tls", Then::Tls)]));
    let address = section.text("address").and_then(|text| {
        let address = text.as_str().parse();
        let wanted = "wants ADDRESS:PORT, for example 0.0.0.0:9000 or [::]:9000";
        address.map_err(|_| section.report(text.problem(wanted))).ok()
    });
    let service = section.text("service").and_then(|text| {
        let service = ServiceName::new(text.as_str());
        service.map_err(|error| section.report(text.problem(error))).ok()
    });
    if let (Some(then), Some(_)) = (then, &service) {
        let scheme = then.scheme();
        section.problem(format_args!(
            "`service` has no place beside `then`: write it where {scheme} is configured, under \
             [listen.{name}] of {scheme}d.toml",
            name = name.as_str(),
        ));
    }
    Some(Listen { name: name.as_str().to_owned(), address, service, then })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_have_an_address_or_are_inherited_and_may_offer_one_service() {
        let text = "[listen.fleet]\naddress = \"[::]:9000\"\n\
            [listen.imap]\nservice = \"imap\"\n";
        let config = Config::parse("tcpd.toml", text).unwrap();
        let listen = |name: &str, address: Option<&str>, service: Option<&str>| Listen {
            name: name.to_owned(),
            address: address.map(|address| address.parse().unwrap()),
            service: service.map(|service| ServiceName::new(service).unwrap()),
            then: None,
        };
        let expected =
            vec![listen("fleet", Some("[::]:9000"), None), listen("imap", None, Some("imap"))];
        assert_eq!(config.listen, expected);
        assert_eq!(Config::parse("tcpd.toml", ""), Ok(Config::default()));
    }

    #[test]
    fn every_problem_is_told_at_its_place() {
        let text = "[listen.a]\naddress = \"everywhere\"\nservice = \"../a\"\nthen = \"ssh\"\nport = 1\n\
             [listen.b]\naddress = \"[::]:9001\"\nservice = \"imap\"\nthen = \"tls\"\n";
        let problems = Config::parse("tcpd.toml", text).unwrap_err();
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let begins = [
            "tcpd.toml:2:11: wants ADDRESS:PORT, for example 0.0.0.0:9000 or [::]:9000",
            "tcpd.toml:3:11: a service name has only",
            "tcpd.toml:4:8: wants one of \"tls\"",
            "tcpd.toml:5:1: ",
            "tcpd.toml:6:",
        ];
        assert_eq!(said.len(), begins.len(), "{said:#?}");
        for (said, begin) in said.iter().zip(begins) {
            assert!(said.starts_with(begin), "{said}");
        }
        assert!(said[4].contains("under [listen.b] of tlsd.toml"), "{}", said[4]);
    }
}
