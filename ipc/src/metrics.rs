//! `ipc metrics`: all numbers as `OpenMetrics` text.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libipc::interface::control::{METRICS, Metrics};

use crate::control;
use crate::format::{self, Format, Shown};
use crate::place::Place;
use crate::report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write them into this file, which is replaced as a whole
    #[arg(long, value_name = "FILE")]
    pub(crate) textfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

const NAME: &str = "metrics";

/// `format` is the one that somebody has chosen: unasked, text stays text.
pub(crate) fn run(wanted: &Options, format: Option<Format>) -> Result<ExitCode, Report> {
    let metrics: Metrics = control::ask(&wanted.place, NAME, METRICS, &serde_json::json!({}))?;
    let Some(path) = &wanted.textfile else {
        let format = format.unwrap_or(Format::Raw);
        return format::print(format, &metrics, &Text(&metrics.text));
    };
    replace(path, &metrics.text).map_err(|error| {
        let name = path.display().to_string();
        Report::system(&name, error).cure("to do", "name a file in a directory that you may write")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Replaces a file as a whole: whoever reads it finds the old text or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let written = File::create_new(&new).and_then(|mut file| file.write_all(text.as_bytes()));
    let replaced = written.and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // What stopped the writing is told; the half-written file is of no use to anybody.
        let _gone = fs::remove_file(&new).is_err();
    }
    replaced
}

/// Text that is its own form for people.
struct Text<'t>(&'t str);

impl Shown for Text<'_> {
    fn table(&self) -> String {
        self.0.to_owned()
    }

    fn raw(&self) -> String {
        self.0.to_owned()
    }
}
