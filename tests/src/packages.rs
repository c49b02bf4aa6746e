//! Our Debian packages, made of this build.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{binaries, outcome, program};

/// The directory of the packages of this build, which are made first.
#[must_use]
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| made("0.1.0", "packages"))
}

/// The directory of the same packages, as if they were of a later version.
#[must_use]
pub fn built_later() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| made("0.1.1", "packages-later"))
}

fn made(version: &str, name: &str) -> PathBuf {
    let out = binaries().join(name);
    let mut make = program("xtask");
    make.args(["deb", "--version", version, "--programs"]).arg(binaries());
    make.arg("--out").arg(&out);
    let (code, _, stderr) = outcome(&mut make);
    assert_eq!(code, 0, "xtask deb: {stderr}");
    out
}
