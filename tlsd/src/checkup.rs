//! What is wrong with certificates that can be read, or will be soon.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::material::Material;

/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Something about a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remark {
    certificate: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Expired { days: u64 },
    Expires { days: u64 },
    Nameless,
    Unreadable,
}

impl Remark {
    /// Whether others refuse it today.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.fault, Fault::Expired { .. } | Fault::Unreadable)
    }
}

/// Looks at everything that is shown to others.
pub(crate) fn remarks(material: &Material, now: SystemTime) -> Vec<Remark> {
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
            if place == 0 && !has_names(shown) {
                remark(Fault::Nameless);
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
        match self.fault {
            Fault::Expired { days } => write!(f, "it has expired {days} days ago: renew it"),
            Fault::Expires { days } => write!(f, "it expires in {days} days: renew it"),
            Fault::Nameless => {
                f.write_str("it is for no name, so that nobody can tell by it who this is")
            }
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
    fn what_ends_soon_is_told_in_days_and_what_has_ended_is_broken() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        assert_eq!(until(now + SOON, now), None);
        assert_eq!(until(now + SOON / 2, now), Some(Fault::Expires { days: 7 }));
        assert_eq!(until(now - DAY * 3, now), Some(Fault::Expired { days: 3 }));
        let broken = |fault| Remark { certificate: "host".to_owned(), fault }.is_broken();
        assert!(broken(Fault::Expired { days: 0 }) && !broken(Fault::Expires { days: 0 }));
    }
}
