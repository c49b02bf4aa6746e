//! The names that a verified certificate proves.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::verify::pin_of;

/// Each as `KIND:VALUE`. A wildcard is not a name, and the subject is none either.
pub(crate) fn proven(end_entity: &CertificateDer<'_>, is_raw: bool) -> Vec<String> {
    let mut names = Vec::new();
    if !is_raw && let Ok(certificate) = EndEntityCert::try_from(end_entity) {
        let dns = certificate.valid_dns_names().filter(|name| !name.starts_with('*'));
        names.extend(dns.map(|name| format!("dns:{}", name.to_ascii_lowercase())));
        names.extend(certificate.valid_uri_names().map(|uri| format!("uri:{uri}")));
    }
    if let Ok(pin) = pin_of(end_entity, is_raw) {
        names.push(format!("pin:{pin}"));
    }
    names
}
