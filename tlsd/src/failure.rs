//! What goes wrong between two ends of TLS, in the words of the interface and of people.

use libipc::interface::transport::{TransportError, refusal};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// What a server did wrong, or what it says that we did wrong.
pub(crate) fn of_server(error: &Error) -> TransportError {
    match error {
        Error::InvalidCertificate(wrong) => {
            let reason = format!("its certificate {}", certificate(wrong));
            TransportError::Untrusted { reason }
        }
        Error::NoCertificatesPresented => untrusted("it shows no certificate"),
        Error::AlertReceived(alert) => of_alert(*alert),
        other => protocol(&of_stream(other)),
    }
}

/// As [`of_server`], of one that has asked for a certificate and not said since that ours will do.
pub(crate) fn of_asking_server(error: &Error) -> TransportError {
    match error {
        // Before TLS 1.3 there is no better word for it.
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            refused("it wants a certificate of ours, or another one")
        }
        other => of_server(other),
    }
}

/// What a peer did wrong that came to us.
pub(crate) fn of_peer(error: &Error) -> TransportError {
    match error {
        Error::InvalidCertificate(wrong) => {
            let reason = format!("its certificate {}", certificate(wrong));
            TransportError::Untrusted { reason }
        }
        Error::NoCertificatesPresented => untrusted("it shows no certificate, which is required"),
        other => protocol(&of_stream(other)),
    }
}

/// The two ends speak different protocols inside TLS.
pub(crate) fn other_protocol(wanted: &[u8]) -> TransportError {
    let wanted = String::from_utf8_lossy(wanted);
    protocol(&format!("the far end does not speak {wanted:?}"))
}

/// The key of the far end is another than the target says.
pub(crate) fn not_pinned() -> TransportError {
    of_server(&Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
}

/// The far end went away without a word.
pub(crate) fn closed_at_greeting() -> TransportError {
    protocol(&with_hint("the far end closes when it is greeted with TLS"))
}

/// A peer went away before it was through.
pub(crate) fn gone() -> TransportError {
    protocol("it closed the connection before it had said what it wants")
}

/// What may help if a far end goes away without a word.
pub(crate) fn with_hint(reason: &str) -> String {
    format!(
        "{reason}; one that switches to TLS on request wants the option starttls=postgres, smtp, \
         imap or ldap"
    )
}

/// The far end has asked who we are, and went away without a word when it was told.
pub(crate) fn closed_at_certificate() -> TransportError {
    refused(
        "it has asked for a certificate, and closes without saying why; certificate= of a \
         redirect says which one is shown",
    )
}

/// The far end says something, and it is not TLS.
pub(crate) fn not_tls(hint: &str) -> TransportError {
    protocol(&format!("the far end does not speak TLS at this port: {hint}"))
}

/// A server does not switch to TLS.
pub(crate) fn declined(what: &str) -> TransportError {
    untrusted(&format!("the server does not switch to TLS: {what}"))
}

/// The far end does not have the key that both hosts should have.
pub(crate) fn no_key() -> TransportError {
    untrusted("the far end has not proven that it has the key")
}

/// A connection that has come to its end.
pub(crate) fn over() -> TransportError {
    protocol("the connection is over")
}

/// A connection that has sealed all that its keys may seal.
pub(crate) fn exhausted() -> TransportError {
    protocol("the keys of the connection are used up")
}

/// Of certificates as nobody should make them any more.
const OUTDATED: &str = "has a key, or a signature, of a kind that is not believed";

/// What a certificate lacks.
fn certificate(wrong: &CertificateError) -> String {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => {
            "has expired, or the clock of this host is wrong".to_owned()
        }
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "is not valid yet, or the clock of this host is wrong".to_owned()
        }
        Wrong::Revoked => "has been revoked".to_owned(),
        Wrong::UnknownIssuer => "is not from an authority that is trusted here".to_owned(),
        Wrong::UnknownRevocationStatus => {
            "is from an authority whose list of revoked certificates is missing here".to_owned()
        }
        Wrong::ExpiredRevocationList | Wrong::ExpiredRevocationListContext { .. } => {
            "cannot be judged: the list of revoked certificates is out of date".to_owned()
        }
        Wrong::NotValidForName => "is for another name".to_owned(),
        Wrong::NotValidForNameContext { presented, .. } => {
            format!("is for another name: {}", names(presented))
        }
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            "is not meant for this (extended key usage)".to_owned()
        }
        Wrong::ApplicationVerificationFailure => "has a key that is not pinned".to_owned(),
        Wrong::BadSignature => "has a signature that is wrong".to_owned(),
        Wrong::UnsupportedSignatureAlgorithmContext { .. }
        | Wrong::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => OUTDATED.to_owned(),
        Wrong::Other(error) => match error.0.downcast_ref().and_then(of_chain) {
            Some(known) => known.to_owned(),
            None => format!("cannot be accepted: {wrong}"),
        },
        other => format!("cannot be accepted: {other}"),
    }
}

/// What the library that builds chains says, and the one that speaks TLS has no word for.
fn of_chain(error: &webpki::Error) -> Option<&'static str> {
    use webpki::Error as Chain;
    match error {
        Chain::MaximumPathDepthExceeded
        | Chain::MaximumSignatureChecksExceeded
        | Chain::MaximumPathBuildCallsExceeded => {
            Some("has too many authorities above it, or too much of other kinds in its chain")
        }
        Chain::CaUsedAsEndEntity => {
            Some("is an authority's own (CA:TRUE), and not one for a host: issue it with CA:FALSE")
        }
        Chain::EndEntityUsedAsCa => Some("was issued by one that is no authority's (CA:FALSE)"),
        Chain::NameConstraintViolation => {
            Some("has a name that its authority may not certify (name constraints)")
        }
        Chain::UnsupportedSignatureAlgorithmContext(_)
        | Chain::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Some(OUTDATED),
        _ => None,
    }
}

/// Names in a certificate: a few, and only what can be printed.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "it names no host (subject alternative name)".to_owned();
    }
    let printable = |name: &String| {
        // As the library shows one: DnsName("host.example.com").
        let bare = name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")"));
        let name = bare.unwrap_or(name);
        name.chars().filter(char::is_ascii_graphic).take(80).collect()
    };
    let first: Vec<String> = presented.iter().take(4).map(printable).collect();
    let more = if presented.len() > 4 { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

/// What the far end says that we did wrong.
fn of_alert(alert: AlertDescription) -> TransportError {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => refused("it wants a certificate of ours"),
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => {
            refused("our certificate is not what it wants")
        }
        Alert::CertificateRevoked => refused("our certificate has been revoked"),
        Alert::CertificateExpired => refused("our certificate has expired"),
        Alert::DecryptError => refused(
            "a signature of ours is wrong for it; our certificate may be from another authority of \
             the same name",
        ),
        // This is also what is said where a list of what is revoked is out of date.
        Alert::UnknownCA => refused(
            "our certificate is not from an authority that it trusts, or it cannot look whether it \
             is revoked",
        ),
        Alert::AccessDenied => refused("access denied"),
        Alert::UnrecognisedName => refused("it does not know the name that we ask for"),
        Alert::NoApplicationProtocol => protocol("the far end does not speak our protocol (ALPN)"),
        Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => protocol(
            "the far end does not speak TLS 1.3 as we do; if it speaks 1.2, the option tls12=true \
             of a redirect allows that",
        ),
        other => protocol(&format!("the far end gave up: {other:?}")),
    }
}

/// What is wrong with what the far end sent.
fn of_stream(error: &Error) -> String {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the far end does not speak TLS".to_owned(),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            // What came before 1.2 had no such extension.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "the far end does not speak TLS 1.3".to_owned(),
        Error::NoApplicationProtocol => "the far end does not speak our protocol (ALPN)".to_owned(),
        other => other.to_string(),
    }
}

fn refused(why: &str) -> TransportError {
    let reason = format!("{}: {why}", refusal::CERTIFICATE);
    TransportError::Refused { reason, retry: false }
}

fn untrusted(reason: &str) -> TransportError {
    TransportError::Untrusted { reason: reason.to_owned() }
}

fn protocol(reason: &str) -> TransportError {
    TransportError::Protocol { reason: reason.to_owned() }
}
