//! The secret of a login, where a redirect names the place that it is to be read from.

use libipc::interface::transport::{TransportError, Wrap};
use libipc::secret::Secret;
use relay::failure;

use crate::config::SecretPlace;
use crate::files;

/// Bytes of the longest secret.
const SECRET_BYTES_MOST: usize = 1024;

/// Puts the secret into the hello, if an option says where it is: `secret-file`, a file that only
/// this daemon may read, or `credential`, what the service manager passes under that name. A file
/// is read each time, so that a new one counts at once.
///
/// # Errors
///
/// [`TransportError::InvalidRequest`] without a user; [`TransportError::Unreachable`] if there is
/// no such secret, or others may read it.
pub(crate) fn fill_in(wanted: &mut Wrap) -> Result<(), TransportError> {
    let file =
        wanted.options.get("secret-file").map(|path| SecretPlace::File(path.expose().into()));
    let name = wanted.options.get("credential");
    let credential = name.map(|name| SecretPlace::Credential(name.expose().to_owned()));
    let place = match (file, credential) {
        (None, None) => return Ok(()),
        (Some(_), Some(_)) => {
            return Err(failure::invalid("options", "secret-file and credential: one of them"));
        }
        (place, None) | (None, place) => place,
    };
    let hello = wanted.hello.as_mut().filter(|hello| hello.user.is_some());
    let (Some(hello), Some(place)) = (hello, place) else {
        return Err(failure::invalid("options", "a secret needs a user: USER@HOST"));
    };
    hello.secret = Some(read(&place)?);
    Ok(())
}

fn read(place: &SecretPlace) -> Result<Secret, TransportError> {
    let unreachable = |reason| TransportError::Unreachable { reason, retry: false };
    let text = files::read_secret(place)
        .map_err(|error| unreachable(format!("the secret of the login: {error}")))?;
    let line = std::str::from_utf8(&text).unwrap_or_default();
    let line = line.strip_suffix('\n').unwrap_or(line);
    if line.is_empty() || line.len() > SECRET_BYTES_MOST || line.chars().any(char::is_control) {
        let reason = format!(
            "the secret of the login is one line of UTF-8 with {SECRET_BYTES_MOST} bytes at most"
        );
        return Err(unreachable(reason));
    }
    Ok(Secret::new(line.to_owned()))
}
