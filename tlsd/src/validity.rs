//! Until when certificates, and lists of what is revoked, hold.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::{CertificateDer, UnixTime};

use crate::der::Value;

/// The first end of all that was believed since it began. What was believed may be used once more,
/// by a ticket, without another look at it; after this end it may not.
#[derive(Debug)]
pub(crate) struct Horizon(AtomicU64);

impl Default for Horizon {
    /// Nothing has been believed yet.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Horizon {
    /// A chain was believed at `now`. What has ended by then was not needed for that; what cannot
    /// be read ends at once.
    pub(crate) fn believed<'c, 'd: 'c>(
        &self,
        chain: impl IntoIterator<Item = &'c CertificateDer<'d>>,
        now: UnixTime,
    ) {
        for certificate in chain {
            self.add(end_of(certificate).unwrap_or(now.as_secs()), now);
        }
    }

    /// A list was looked at that ends then.
    pub(crate) fn add(&self, end: u64, now: UnixTime) {
        if end >= now.as_secs() {
            self.0.fetch_min(end, Ordering::Relaxed);
        }
    }

    /// Whether something that was believed has ended.
    pub(crate) fn has_passed(&self, now: UnixTime) -> bool {
        self.0.load(Ordering::Relaxed) <= now.as_secs()
    }
}

/// When a certificate ends, in seconds since 1970: the second time of its validity (RFC 5280,
/// section 4.1).
pub(crate) fn end_of(certificate: &[u8]) -> Option<u64> {
    let mut fields = signed(certificate)?;
    // The version, if it is there; serial number, algorithm, issuer.
    if Value::first(fields)?.tag == VERSION {
        fields = Value::first(fields)?.behind;
    }
    for _ in 0..3 {
        fields = Value::first(fields)?.behind;
    }
    let validity = Value::first(fields)?.inside(SEQUENCE)?;
    time(&Value::first(Value::first(validity)?.behind)?)
}

/// When a list of revoked certificates is out of date (RFC 5280, section 5.1).
pub(crate) fn end_of_list(list: &[u8]) -> Option<u64> {
    let mut fields = signed(list)?;
    // The version, if it is there; algorithm, issuer, when it was made.
    if Value::first(fields)?.tag == INTEGER {
        fields = Value::first(fields)?.behind;
    }
    for _ in 0..3 {
        fields = Value::first(fields)?.behind;
    }
    time(&Value::first(fields)?)
}

/// The fields of what somebody has signed.
fn signed(whole: &[u8]) -> Option<&[u8]> {
    Value::first(Value::first(whole)?.inside(SEQUENCE)?)?.inside(SEQUENCE)
}

/// Seconds since 1970.
fn time(value: &Value<'_>) -> Option<u64> {
    let text = std::str::from_utf8(value.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match value.tag {
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
    seconds(year, rest)
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

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

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair,
        SerialNumber, date_time_ymd,
    };

    use super::*;

    const TIMES: [(i32, u8, u8, u64); 5] = [
        (2026, 11, 21, 1_795_219_200),
        (2049, 12, 31, 2_524_521_600),
        (2050, 1, 1, 2_524_608_000),
        (2096, 2, 29, 3_981_312_000),
        (9999, 12, 31, 253_402_214_400),
    ];

    fn ending(year: i32, month: u8, day: u8) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms_of_time() {
        for (year, month, day, expected) in TIMES {
            let made = ending(year, month, day);
            assert_eq!(end_of(&made), Some(expected), "{year}");
            // Cut anywhere, it is none.
            assert!((0..made.len()).all(|end| end_of(made.get(..end).unwrap()).is_none()));
        }
        assert_eq!(end_of(b""), None);
    }

    #[test]
    fn the_end_of_a_list_is_read_in_both_forms_of_time() {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(CertificateParams::default(), key);
        for (year, month, day, expected) in TIMES {
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2024, 1, 1),
                next_update: date_time_ymd(year, month, day),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let made = params.signed_by(&issuer).unwrap();
            assert_eq!(end_of_list(made.der()), Some(expected), "{year}");
            assert_eq!(end_of(made.der()), None);
        }
        assert_eq!(end_of_list(&ending(2026, 11, 21)), None);
    }

    #[test]
    fn what_is_believed_holds_until_the_first_of_it_ends() {
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let (early, late) = (ending(2026, 11, 21), ending(2049, 12, 31));
        let end = 1_795_219_200;
        let horizon = Horizon::default();
        assert!(!horizon.has_passed(at(u64::MAX - 1)), "nothing was believed");
        horizon.believed([&late, &early], at(end - 10));
        horizon.believed([&late], at(end - 9));
        assert!(!horizon.has_passed(at(end - 1)) && horizon.has_passed(at(end)));
        let horizon = Horizon::default();
        horizon.believed([&late, &early], at(end + 1));
        assert!(!horizon.has_passed(at(end + 2)), "what had ended was not needed");
        horizon.believed([&CertificateDer::from(vec![1])], at(end + 2));
        assert!(horizon.has_passed(at(end + 2)), "what cannot be read");
    }
}
