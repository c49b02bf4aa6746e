//! What is wrong with certificates and lists that can be read, or will be soon.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::config::Config;
use crate::material::Material;
use crate::validity::{end_of, end_of_list};

/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Names of a certificate that are told.
const NAMES_TOLD: usize = 4;

/// Something about what a table names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remark {
    table: String,
    fault: Fault,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Fault {
    Expired {
        days: u64,
    },
    Expires {
        days: u64,
    },
    Nameless,
    /// Peers come to it at this host, and it is for others.
    Elsewhere {
        host: String,
        names: String,
    },
    Unreadable,
    /// A list of what is revoked: with it, nobody is let in.
    OutOfDate {
        days: u64,
    },
}

impl Remark {
    /// Whether others refuse it today, or are refused for it.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.fault, Fault::Expired { .. } | Fault::Unreadable | Fault::OutOfDate { .. })
    }
}

/// Looks at everything that is shown to others by this host, which calls itself `host`, and at the
/// lists by which others are judged.
pub(crate) fn remarks(
    config: &Config,
    material: &Material,
    host: Option<&str>,
    now: SystemTime,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (name, certificate) in &material.certificates {
        if certificate.is_raw {
            continue;
        }
        let table = format!("certificate.{name}");
        let mut remark = |fault| remarks.push(Remark { table: table.clone(), fault });
        for (place, shown) in certificate.certified.cert.iter().enumerate() {
            match end_of(shown) {
                Some(end) => until(moment(end), now).into_iter().for_each(&mut remark),
                None => remark(Fault::Unreadable),
            }
            if place > 0 {
                continue;
            }
            if !has_names(shown) {
                remark(Fault::Nameless);
            }
            // What is offered to plain clients has the name of the service as often.
            let meets_peers = config
                .listen
                .values()
                .any(|listen| listen.certificate == *name && listen.service.is_none());
            if let Some(host) = host.filter(|_| meets_peers)
                && let Some(names) = names_elsewhere(shown, host)
            {
                remark(Fault::Elsewhere { host: host.to_owned(), names });
            }
        }
    }
    remarks.extend(of_lists(material, now));
    remarks
}

/// Which lists of what is revoked are out of date.
fn of_lists(material: &Material, now: SystemTime) -> impl Iterator<Item = Remark> {
    material.trusts.iter().filter_map(move |(name, trust)| {
        let ends = trust.crls.iter().filter_map(|list| end_of_list(list));
        let longest = ends.filter_map(|end| now.duration_since(moment(end)).ok()).max()?;
        let fault = Fault::OutOfDate { days: days(longest) };
        Some(Remark { table: format!("trust.{name}"), fault })
    })
}

fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn days(span: Duration) -> u64 {
    span.as_secs() / (24 * 3600)
}

fn until(end: SystemTime, now: SystemTime) -> Option<Fault> {
    match end.duration_since(now) {
        Ok(left) if left >= SOON => None,
        Ok(left) => Some(Fault::Expires { days: days(left) }),
        Err(passed) => Some(Fault::Expired { days: days(passed.duration()) }),
    }
}

/// Whether a certificate says whom it is for: it has subject alternative names (2.5.29.17).
fn has_names(certificate: &[u8]) -> bool {
    certificate.windows(5).any(|bytes| bytes == [0x06, 0x03, 0x55, 0x1d, 0x11])
}

/// Names of other hosts that a certificate is for, if it is for no name of this one.
fn names_elsewhere(certificate: &CertificateDer<'_>, host: &str) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let names: Vec<_> = certificate.valid_dns_names().collect();
    if names.is_empty() || names.iter().any(|name| may_be(name, host)) {
        return None;
    }
    Some(names.into_iter().take(NAMES_TOLD).collect::<Vec<_>>().join(", "))
}

/// Whether a name is that of a host which may call itself by the first part alone.
fn may_be(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let (first, domain) = name.split_once('.').unwrap_or((&name, ""));
    match host.split_once('.') {
        Some((_, of_host)) => name == host || (first == "*" && domain == of_host),
        None => first == host || first == "*",
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]: ", self.table)?;
        match &self.fault {
            Fault::Expired { days } => write!(f, "it has expired {days} days ago: renew it"),
            Fault::Expires { days } => write!(f, "it expires in {days} days: renew it"),
            Fault::Nameless => {
                f.write_str("it is for no name, so that nobody can tell by it who this is")
            }
            Fault::Elsewhere { host, names } => write!(
                f,
                "peers that come here are shown it, and it is for {names} and not for {host}: they \
                 write one of its names into their targets, or it is issued for this host"
            ),
            Fault::Unreadable => f.write_str("it is no certificate"),
            Fault::OutOfDate { days } => write!(
                f,
                "its list of revoked certificates is out of date since {days} days, so that nobody \
                 gets in by it: renew it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_certificate_without_names_is_told_from_one_with() {
        let key = KeyPair::generate().unwrap();
        let made = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            CertificateParams::new(names).unwrap().self_signed(&key).unwrap()
        };
        assert!(has_names(made(&["web1.example.com"]).der()) && has_names(made(&["::1"]).der()));
        assert!(!has_names(made(&[]).der()));
    }

    #[test]
    fn a_certificate_for_other_hosts_is_told_from_one_for_this() {
        let made = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = CertificateParams::new(names).unwrap();
            made.self_signed(&KeyPair::generate().unwrap()).unwrap()
        };
        let cases: [(&[&str], &str, Option<&str>); 8] = [
            (&["web1.example.com"], "web1.example.com", None),
            (&["web1.example.com"], "WEB1", None),
            (&["*.example.com"], "web1.example.com", None),
            (&["*.example.com"], "web1.example.org", Some("*.example.com")),
            (&["a.example", "web1.example.com"], "web1", None),
            (&["a.example", "b.example"], "web1", Some("a.example, b.example")),
            (&["web1.example.com"], "web1.example.org", Some("web1.example.com")),
            (&["192.0.2.1"], "web1", None),
        ];
        for (names, host, expected) in cases {
            let told = names_elsewhere(made(names).der(), host);
            assert_eq!(told.as_deref(), expected, "{names:?} {host}");
        }
    }

    #[test]
    fn a_list_that_is_out_of_date_is_told_and_broken() {
        use std::collections::BTreeMap;
        use std::sync::Arc;

        let issuer = rcgen::Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2026, 11, 21),
            crl_number: rcgen::SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer).unwrap().der().clone();
        let trust = crate::material::Trust { crls: vec![list], ..Default::default() };
        let trusts = BTreeMap::from([("fleet".to_owned(), Arc::new(trust))]);
        let material = Material { certificates: BTreeMap::new(), trusts, keys: BTreeMap::new() };
        let told = |days: u64| {
            let now = moment(1_795_219_200 + days * 24 * 3600);
            let remarks = remarks(&Config::default(), &material, None, now);
            remarks
                .iter()
                .map(|remark| (remark.to_string(), remark.is_broken()))
                .collect::<Vec<_>>()
        };
        let said = "[trust.fleet]: its list of revoked certificates is out of date since 3 days, so \
                    that nobody gets in by it: renew it";
        assert_eq!(told(3), [(said.to_owned(), true)]);
        let before = remarks(&Config::default(), &material, None, moment(1_795_219_199));
        assert_eq!(before, []);
    }

    #[test]
    fn what_ends_soon_is_told_in_days_and_what_has_ended_is_broken() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        assert_eq!(until(now + SOON, now), None);
        assert_eq!(until(now + SOON / 2, now), Some(Fault::Expires { days: 7 }));
        assert_eq!(until(now - DAY * 3, now), Some(Fault::Expired { days: 3 }));
        let broken = |fault| Remark { table: "certificate.host".to_owned(), fault }.is_broken();
        assert!(broken(Fault::Expired { days: 0 }) && !broken(Fault::Expires { days: 0 }));
    }
}
