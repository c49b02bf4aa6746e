//! Contents of messages checked against JSON Schema, one schema for each channel.
//!
//! Draft 2020-12, or what a schema's `$schema` says. Nothing is fetched: a reference that leaves
//! its own file is an error. Patterns are matched in time that grows with the text alone, so those
//! that look around or back are errors as well.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::channel::Channel;
use crate::shown::shown;

mod directory;
mod strict;

/// What a registry takes, and what it does beside its schemas.
///
/// ```
/// use libipc::Channel;
/// use libipc::schema::{SchemaOptions, SchemaRegistry};
///
/// let options = SchemaOptions { strict: true, ..SchemaOptions::default() };
/// let schemas = [(Channel::DATA, r#"{"properties": {"a": {}}}"#)];
/// let schemas = SchemaRegistry::from_embedded(&schemas, options)?;
/// assert!(schemas.validate(Channel::DATA, br#"{"a": 1}"#).is_ok());
/// assert!(schemas.validate(Channel::DATA, br#"{"a": 1, "b": 2}"#).is_err());
/// # Ok::<(), libipc::schema::SchemaError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SchemaOptions {
    /// Objects have the properties that their schema names, and no others.
    pub strict: bool,
    /// A message on a channel without a schema is an error.
    pub fail_on_missing: bool,
    /// Schemas of one directory at most.
    pub schemas_most: usize,
    /// Bytes of one schema at most.
    pub schema_bytes_most: usize,
}

impl Default for SchemaOptions {
    /// As ipcprims has it: not strict, 256 schemas of 256 KiB.
    fn default() -> Self {
        let (schemas_most, schema_bytes_most) = (256, 256 << 10);
        Self { strict: false, fail_on_missing: false, schemas_most, schema_bytes_most }
    }
}

/// The schemas of the channels.
///
/// ```
/// use libipc::Channel;
/// use libipc::schema::{SchemaOptions, SchemaRegistry};
///
/// let schema = r#"{"type": "object", "required": ["action"]}"#;
/// let mut registry = SchemaRegistry::new(SchemaOptions::default());
/// registry.register(Channel::COMMAND, schema)?;
/// assert!(registry.validate(Channel::COMMAND, br#"{"action": "stop"}"#).is_ok());
/// assert!(registry.validate(Channel::COMMAND, br#"{}"#).is_err());
/// # Ok::<(), libipc::schema::SchemaError>(())
/// ```
#[derive(Debug)]
pub struct SchemaRegistry {
    schemas: BTreeMap<Channel, Validator>,
    options: SchemaOptions,
}

impl SchemaRegistry {
    /// A registry without schemas.
    #[must_use]
    pub fn new(options: SchemaOptions) -> Self {
        Self { schemas: BTreeMap::new(), options }
    }

    /// The schemas that are part of a program.
    ///
    /// # Errors
    ///
    /// As [`SchemaRegistry::register`].
    pub fn from_embedded(
        schemas: &[(Channel, &str)],
        options: SchemaOptions,
    ) -> Result<Self, SchemaError> {
        let mut registry = Self::new(options);
        for (channel, schema) in schemas {
            registry.register(*channel, schema)?;
        }
        Ok(registry)
    }

    /// Takes the schema of a channel, in place of an earlier one.
    ///
    /// # Errors
    ///
    /// [`SchemaError::TooLong`], [`SchemaError::NoJson`] and [`SchemaError::Schema`].
    pub fn register(&mut self, channel: Channel, schema: &str) -> Result<(), SchemaError> {
        let most = self.options.schema_bytes_most;
        if schema.len() > most {
            return Err(SchemaError::TooLong { channel, most });
        }
        let schema =
            serde_json::from_str(schema).map_err(|error| SchemaError::NoJson { channel, error })?;
        self.register_value(channel, schema)
    }

    /// As [`SchemaRegistry::register`], for a schema that is JSON already.
    ///
    /// # Errors
    ///
    /// [`SchemaError::Schema`].
    pub fn register_value(
        &mut self,
        channel: Channel,
        mut schema: Value,
    ) -> Result<(), SchemaError> {
        if self.options.strict {
            strict::forbid_others(&mut schema);
        }
        let validator = jsonschema::options()
            .with_draft(draft(&schema))
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MOST))
            .offline()
            .build(&schema)
            .map_err(|error| SchemaError::Schema { channel, error: error.to_string() })?;
        self.schemas.insert(channel, validator);
        Ok(())
    }

    /// Whether a channel has a schema.
    #[must_use]
    pub fn has_schema(&self, channel: Channel) -> bool {
        self.schemas.contains_key(&channel)
    }

    /// The channels that have schemas, in order.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.schemas.keys().copied()
    }

    /// Checks the content of a message.
    ///
    /// # Errors
    ///
    /// [`SchemaError::NoSchema`], [`SchemaError::NoJson`] and [`SchemaError::Content`].
    pub fn validate(&self, channel: Channel, payload: &[u8]) -> Result<(), SchemaError> {
        let Some(validator) = self.schemas.get(&channel) else {
            let fails = self.options.fail_on_missing;
            return if fails { Err(SchemaError::NoSchema { channel }) } else { Ok(()) };
        };
        let content: Value = serde_json::from_slice(payload)
            .map_err(|error| SchemaError::NoJson { channel, error })?;
        let problems = validator.iter_errors(&content).take(PROBLEMS_MOST);
        let problems: Vec<String> =
            problems.map(|problem| shown(&problem.to_string(), SHOWN_MOST)).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(SchemaError::Content { channel, problems })
    }
}

/// What a schema says it is written in; without that the newest.
fn draft(schema: &Value) -> Draft {
    let says = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
    [
        ("draft-04", Draft::Draft4),
        ("draft-06", Draft::Draft6),
        ("draft-07", Draft::Draft7),
        ("2019-09", Draft::Draft201909),
    ]
    .into_iter()
    .find_map(|(name, draft)| says.contains(name).then_some(draft))
    .unwrap_or(Draft::Draft202012)
}

/// Problems of one message that are told.
const PROBLEMS_MOST: usize = 4;

/// Memory of one compiled pattern at most.
const PATTERN_BYTES_MOST: usize = 1 << 20;

/// Characters of one problem that are shown: the content is the peer's.
const SHOWN_MOST: usize = 300;

/// Why a schema is not used, or a message is not what its schema says.
///
/// ```
/// use libipc::Channel;
/// use libipc::schema::{SchemaError, SchemaOptions, SchemaRegistry};
///
/// let options = SchemaOptions { fail_on_missing: true, ..SchemaOptions::default() };
/// let answer = SchemaRegistry::new(options).validate(Channel::DATA, b"1");
/// assert!(matches!(answer, Err(SchemaError::NoSchema { channel: Channel::DATA })));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SchemaError {
    /// The system's answer.
    System {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// A file ends in `.schema.json`, and its name names no channel.
    FileName {
        /// Which.
        path: PathBuf,
    },
    /// A schema is a symbolic link, or something else that is no file.
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// Two files are for one channel.
    Twice {
        /// Which.
        channel: Channel,
    },
    /// A directory has more schemas than are taken.
    TooMany {
        /// The limit.
        most: usize,
    },
    /// A schema has more bytes than are taken.
    TooLong {
        /// Whose schema.
        channel: Channel,
        /// The limit.
        most: usize,
    },
    /// The text is no JSON.
    NoJson {
        /// On which channel.
        channel: Channel,
        /// Where and why.
        error: serde_json::Error,
    },
    /// The JSON is no schema that can be used.
    Schema {
        /// Whose schema.
        channel: Channel,
        /// Where and why.
        error: String,
    },
    /// A channel has no schema, and should.
    NoSchema {
        /// Which.
        channel: Channel,
    },
    /// A message is not what its schema says.
    Content {
        /// On which channel.
        channel: Channel,
        /// The first problems, four at most.
        problems: Vec<String>,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { path, error } => write!(f, "{}: {error}", path.display()),
            Self::FileName { path } => {
                write!(f, "{}: write channel_N.schema.json, or a built-in name", path.display())
            }
            Self::NoFile { path } => {
                write!(f, "{}: a schema is a file, and no link to one", path.display())
            }
            Self::Twice { channel } => write!(f, "channel {channel} has two schemas"),
            Self::TooMany { most } => write!(f, "more than {most} schemas in one directory"),
            Self::TooLong { channel, most } => {
                write!(f, "the schema of channel {channel} has more than {most} bytes")
            }
            Self::NoJson { channel, error } => write!(f, "channel {channel}: no JSON: {error}"),
            Self::Schema { channel, error } => {
                write!(f, "the schema of channel {channel} cannot be used: {error}")
            }
            Self::NoSchema { channel } => write!(f, "channel {channel} has no schema"),
            Self::Content { channel, problems } => {
                write!(f, "validation failed on channel {channel}: {}", problems.join("; "))
            }
        }
    }
}

impl std::error::Error for SchemaError {}

#[cfg(test)]
mod tests;
