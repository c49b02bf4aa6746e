//! Schemas that lie in a directory, each in a file that is named after its channel.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use super::{SchemaError, SchemaOptions, SchemaRegistry};
use crate::channel::Channel;

const SUFFIX: &str = ".schema.json";

impl SchemaRegistry {
    /// The schemas of a directory: `channel_N.schema.json`, and `control`, `command`, `data`,
    /// `telemetry` and `error.schema.json`, in any case of letters. Other files are ignored, unless
    /// they end in `.schema.json`.
    ///
    /// # Errors
    ///
    /// [`SchemaError`]: the first problem; no schema is used then.
    pub fn from_directory(path: &Path, options: SchemaOptions) -> Result<Self, SchemaError> {
        let system = |error| SchemaError::System { path: path.to_owned(), error };
        let mut registry = Self::new(options);
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(system)? {
            let path = entry.map_err(system)?.path();
            if let Some(channel) = channel_of(&path)? {
                files.push((channel, path));
            }
            if files.len() > options.schemas_most {
                return Err(SchemaError::TooMany { most: options.schemas_most });
            }
        }
        files.sort();
        for (channel, path) in files {
            if registry.has_schema(channel) {
                return Err(SchemaError::Twice { channel });
            }
            let text = read(&path, channel, options.schema_bytes_most)?;
            registry.register(channel, &text)?;
        }
        Ok(registry)
    }
}

/// The channel that a file is for; `None` if it is no schema.
fn channel_of(path: &Path) -> Result<Option<Channel>, SchemaError> {
    let name = path.file_name().unwrap_or_default().to_ascii_lowercase();
    let wrong = || SchemaError::FileName { path: path.to_owned() };
    if !name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
        return Ok(None);
    }
    let stem = OsStr::to_str(&name).and_then(|name| name.strip_suffix(SUFFIX)).ok_or_else(wrong)?;
    let channel = match stem {
        "control" => Channel::CONTROL,
        "command" => Channel::COMMAND,
        "data" => Channel::DATA,
        "telemetry" => Channel::TELEMETRY,
        "error" => Channel::ERROR,
        stem => {
            let digits = stem.strip_prefix("channel_").ok_or_else(wrong)?;
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            Channel(digits.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?)
        }
    };
    Ok(Some(channel))
}

/// Reads a schema of at most `most` bytes. What is checked is the file that was opened: it cannot
/// be exchanged in between.
fn read(path: &Path, channel: Channel, most: usize) -> Result<String, SchemaError> {
    let system = |error| SchemaError::System { path: path.to_owned(), error };
    let no_file = || SchemaError::NoFile { path: path.to_owned() };
    // A pipe without a writer would be waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(no_file()),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(no_file()),
        file => file.map_err(system)?,
    };
    if !file.metadata().map_err(system)?.is_file() {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(system)?;
    if bytes.len() > most {
        return Err(SchemaError::TooLong { channel, most });
    }
    String::from_utf8(bytes)
        .map_err(|error| system(io::Error::new(io::ErrorKind::InvalidData, error)))
}
