//! The text of a target, cut into its parts.

use std::collections::BTreeMap;

use libipc::name::ServiceName;
use libipc::secret::Secret;

use crate::host::Host;
use crate::scheme::{Schemes, default_port};
use crate::target::option::{self, OptionError};
use crate::target::{Author, RemoteTarget, Target, TargetError};

pub(super) fn target(text: &str, author: Author, schemes: &Schemes) -> Result<Target, TargetError> {
    if text.is_empty() {
        return Err(TargetError::Empty);
    }
    refuse_characters(text)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        let error = if text.contains(':') { Err(TargetError::NoSlashes) } else { Ok(()) };
        return error.and_then(|()| Ok(Target::Local(ServiceName::new(text)?)));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "unix" {
        return local(rest);
    }
    if schemes.stack(&scheme).is_none() {
        return Err(unknown_scheme(&scheme, schemes));
    }
    let (place, options) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
    if options.is_some_and(|options| options.contains('@')) {
        return Err(TargetError::AtInOptions); // a ? in a login: what follows may be a secret
    }
    let (authority, path) = place.split_once('/').map_or((place, None), |(a, b)| (a, Some(b)));
    let service = path.map(ServiceName::new).transpose()?;
    let authority = Authority::split(authority)?;
    let target = RemoteTarget {
        host: authority.host()?,
        port: authority.port(&scheme, service.is_some())?,
        user: authority.user.map(decode).transpose()?,
        secret: authority.secret.map(decode).transpose()?,
        options: parse_options(options, author, &scheme, schemes)?,
        service,
        scheme,
    };
    check_login(&target, schemes)?;
    Ok(Target::Remote(target))
}

/// Refuses what readers of URIs drop, or read in different ways. Letters beyond ASCII pass here;
/// only the host may have them.
fn refuse_characters(text: &str) -> Result<(), TargetError> {
    let refused = |c: &char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '#');
    match text.chars().find(refused) {
        Some(character) => Err(TargetError::Character(character)),
        None => Ok(()),
    }
}

fn local(rest: &str) -> Result<Target, TargetError> {
    let name = rest.strip_prefix('/').unwrap_or(rest);
    if name.contains(['/', '@', ':', '?']) {
        return Err(TargetError::NotOnThisHost);
    }
    Ok(Target::Local(ServiceName::new(name)?))
}

fn unknown_scheme(scheme: &str, schemes: &Schemes) -> TargetError {
    let known: Vec<_> = schemes.names().collect();
    let shown: String = scheme.chars().filter(char::is_ascii_graphic).take(32).collect();
    TargetError::UnknownScheme { scheme: shown.into(), known: known.join(", ").into() }
}

/// What stands between `//` and `/`.
struct Authority<'t> {
    user: Option<&'t str>,
    secret: Option<&'t str>,
    host: &'t str,
    port: Option<&'t str>,
}

impl<'t> Authority<'t> {
    fn split(text: &'t str) -> Result<Self, TargetError> {
        let mut parts = text.split('@');
        let (login, place) = match (parts.next(), parts.next(), parts.next()) {
            (Some(login), Some(place), None) => (Some(login), place),
            (_, _, Some(_)) => return Err(TargetError::TwoAts),
            _ => (None, text),
        };
        let (user, mut secret) = match login.map(|login| login.split_once(':')) {
            None => (None, None),
            Some(None) => (login, None),
            Some(Some((user, secret))) => (Some(user), Some(secret)),
        };
        if user.is_some_and(str::is_empty) {
            return Err(TargetError::EmptyUser);
        }
        let (early, host, port) = split_place(place);
        if early.is_some() {
            if user.is_none() || secret.is_some() {
                return Err(TargetError::Port);
            }
            secret = early;
        }
        Ok(Self { user, secret, host, port })
    }

    fn host(&self) -> Result<Host, TargetError> {
        Ok(Host::parse(self.host)?)
    }

    fn port(&self, scheme: &str, service: bool) -> Result<u16, TargetError> {
        let default = default_port(scheme);
        let Some(port) = self.port else {
            let no_port = TargetError::NoPort { default_with_service: default.is_some() };
            return default.filter(|_| service).ok_or(no_port);
        };
        parse_port(port).ok_or(TargetError::Port)
    }
}

/// A port as decimal digits alone.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Cuts `[secret:]host[:port]`, where the host may have brackets. A secret here is the first
/// ipcd's spelling; there the port is not left out.
fn split_place(place: &str) -> (Option<&str>, &str, Option<&str>) {
    let bracket = place.find('[');
    let (early, place) = match bracket {
        Some(0) | None => (None, place),
        Some(_) => place.split_once(":[").map_or((None, place), |(early, _)| {
            (Some(early), place.get(early.len() + 1..).unwrap_or_default())
        }),
    };
    if place.starts_with('[') {
        let end = place.find(']').map_or(place.len(), |end| end + 1);
        let (host, rest) = place.split_at_checked(end).unwrap_or((place, ""));
        return match rest.strip_prefix(':') {
            Some(port) => (early, host, Some(port)),
            None if rest.is_empty() => (early, host, None),
            None => (early, place, None),
        };
    }
    let pieces: Vec<_> = place.split(':').collect();
    match pieces.as_slice() {
        [host, port] => (None, host, Some(port)),
        [secret, host, port] => (Some(secret), host, Some(port)),
        _ => (None, place, None),
    }
}

fn parse_options(
    text: Option<&str>,
    author: Author,
    scheme: &str,
    schemes: &Schemes,
) -> Result<BTreeMap<String, Secret>, TargetError> {
    let mut options = BTreeMap::new();
    for pair in text.into_iter().flat_map(|text| text.split('&')) {
        let (name, value) = pair.split_once('=').ok_or(OptionError::NoValue)?;
        let value = decode(value)?;
        let name = option::check(name, &value, author, scheme, schemes)?;
        if options.insert(name.to_owned(), value).is_some() {
            return Err(OptionError::Twice(name).into());
        }
    }
    Ok(options)
}

/// Replaces `%XX`. What comes out is UTF-8 without control characters, so that it cannot end a
/// line, a message or a string in whatever reads it.
fn decode(text: &str) -> Result<Secret, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                high.zip(low).map(|(high, low)| high << 4 | low).ok_or(TargetError::Escape)?
            }
            byte if byte.is_ascii() => byte,
            _ => return Err(TargetError::Escape),
        };
        bytes.push(byte);
    }
    let decoded = String::from_utf8(bytes).map_err(|_| TargetError::Escape)?;
    if decoded.chars().any(char::is_control) {
        return Err(TargetError::Escape);
    }
    Ok(Secret::new(decoded))
}

fn hex(byte: Option<u8>) -> Option<u8> {
    let digit = char::from(byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn check_login(target: &RemoteTarget, schemes: &Schemes) -> Result<(), TargetError> {
    let option = |name: &str| target.options.contains_key(name);
    let login = target.user.is_some() || option("secret-file") || option("credential");
    if !login {
        return Ok(());
    }
    if target.service.is_none() {
        return Err(TargetError::LoginWithoutService);
    }
    if !schemes.proves_names(&target.scheme) {
        return Err(TargetError::LoginUnprotected);
    }
    Ok(())
}
