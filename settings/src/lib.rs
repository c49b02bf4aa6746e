//! Texts of configuration files to types, with every problem at its place.
//!
//! But for [`configuration`], which finds the broker's files and reads those that nobody else could
//! have written, this crate opens no file. [`read`] takes a name and a text, and a reader that asks
//! the file's [`Section`]s for its keys. A value of the wrong type, a number out of range, a key
//! that nobody asked for: each becomes a [`Problem`], and all of a file are reported together,
//! because the person who mends the file wants to do it once.
//!
//! - [`Section`] is a table. It knows which keys were asked for; the others are problems, so a key
//!   that is accepted and has no effect cannot exist.
//! - [`Text`] is a string that knows where each of its characters stands in the file, for values
//!   that are a language of their own.
//! - [`Problem`] prints as compilers do: `FILE:LINE:COLUMN: message`.
//! - [`said`] tells the kernel's words to people.
#![forbid(unsafe_code)]

pub mod configuration;
mod key;
mod position;
mod problem;
pub mod said;
mod section;
mod source;
mod text;
mod value;

pub use key::nearest;
pub use position::Position;
pub use problem::Problem;
pub use section::Section;
pub use source::{File, read, read_all};
pub use text::Text;
pub use value::Value;
