//! The names that what a far end shows proves.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::material::Proves;
use crate::verify::pin_of;

/// Characters of a name at most: rules have no longer ones.
const LENGTH_MOST: usize = 255;

/// Each as `KIND:VALUE`. A wildcard is not a name, and the subject is none either.
pub(crate) fn proven(end_entity: &CertificateDer<'_>, proves: Proves) -> Vec<String> {
    let mut names = Vec::new();
    if proves == Proves::Names
        && let Ok(certificate) = EndEntityCert::try_from(end_entity)
    {
        let dns = certificate.valid_dns_names().filter(|name| !name.starts_with('*'));
        names.extend(dns.map(|name| format!("dns:{}", name.to_ascii_lowercase())));
        let uris = certificate.valid_uri_names().filter(|uri| is_one_word(uri));
        names.extend(uris.map(|uri| format!("uri:{uri}")));
    }
    if let Ok(pin) = pin_of(end_entity, proves == Proves::BareKey) {
        names.push(format!("pin:{pin}"));
    }
    names
}

/// Whether a list of names in which this is one cannot be taken for a list of others.
fn is_one_word(uri: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    uri.len() <= LENGTH_MOST && uri.bytes().all(fits)
}
