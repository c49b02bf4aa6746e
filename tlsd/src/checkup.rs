//! What is wrong with certificates that can be read, or will be soon.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::config::Config;
use crate::material::Material;

/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Names of a certificate that are told.
const NAMES_TOLD: usize = 4;

/// Something about a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remark {
    certificate: String,
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
}

impl Remark {
    /// Whether others refuse it today.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.fault, Fault::Expired { .. } | Fault::Unreadable)
    }
}

/// Looks at everything that is shown to others by this host, which calls itself `host`.
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
        let mut remark = |fault| remarks.push(Remark { certificate: name.clone(), fault });
        for (place, shown) in certificate.certified.cert.iter().enumerate() {
            match end_of(shown) {
                Some(end) => until(end, now).into_iter().for_each(&mut remark),
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
    remarks
}

fn until(end: SystemTime, now: SystemTime) -> Option<Fault> {
    let days = |span: Duration| span.as_secs() / (24 * 3600);
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

/// When a certificate ends: the second time of its validity (RFC 5280, section 4.1).
fn end_of(certificate: &[u8]) -> Option<SystemTime> {
    let whole = Value::first(certificate)?.inside(SEQUENCE)?;
    let mut fields = Value::first(whole)?.inside(SEQUENCE)?;
    // The version, if it is there; serial number, algorithm, issuer.
    if Value::first(fields)?.tag == VERSION {
        fields = Value::first(fields)?.behind;
    }
    for _ in 0..3 {
        fields = Value::first(fields)?.behind;
    }
    let validity = Value::first(fields)?.inside(SEQUENCE)?;
    let end = Value::first(Value::first(validity)?.behind)?;
    let text = std::str::from_utf8(end.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match end.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    seconds(year, rest).map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A value of DER, and what is behind it.
struct Value<'d> {
    tag: u8,
    content: &'d [u8],
    behind: &'d [u8],
}

impl<'d> Value<'d> {
    fn first(bytes: &'d [u8]) -> Option<Self> {
        let (&[tag, short], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
                (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(length)?;
        Some(Self { tag, content, behind })
    }

    fn inside(&self, tag: u8) -> Option<&'d [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

/// Seconds since 1970 of a year and `MMDDHHMMSS`.
fn seconds(year: u64, rest: &str) -> Option<u64> {
    let number = |from: usize| rest.get(from..from + 2)?.parse::<u64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    let (hour, minute, second) = (number(4)?, number(6)?, number(8)?);
    if rest.len() != 10 || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // A year from March on has the day that some years have more at its end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leaps + (153 * month + 2) / 5 + day - 1;
    // Days from 1 March of the year 0 to 1 January 1970.
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3_600 + minute * 60 + second)
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[certificate.{}]: ", self.certificate)?;
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
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms_of_time() {
        for (year, month, day, expected) in [
            (2026, 11, 21, 1_795_219_200),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2096, 2, 29, 3_981_312_000_u64),
            (9999, 12, 31, 253_402_214_400),
        ] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, month, day);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let end = SystemTime::UNIX_EPOCH + Duration::from_secs(expected);
            assert_eq!(end_of(made.der()), Some(end), "{year}");
            // Cut anywhere, it is none.
            assert!(
                (0..made.der().len()).all(|end| end_of(made.der().get(..end).unwrap()).is_none())
            );
        }
        assert_eq!(end_of(b""), None);
    }

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
    fn what_ends_soon_is_told_in_days_and_what_has_ended_is_broken() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        assert_eq!(until(now + SOON, now), None);
        assert_eq!(until(now + SOON / 2, now), Some(Fault::Expires { days: 7 }));
        assert_eq!(until(now - DAY * 3, now), Some(Fault::Expired { days: 3 }));
        let broken = |fault| Remark { certificate: "host".to_owned(), fault }.is_broken();
        assert!(broken(Fault::Expired { days: 0 }) && !broken(Fault::Expires { days: 0 }));
    }
}
