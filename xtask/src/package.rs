//! `cargo xtask deb`: Debian packages, from a tree that is laid out as it will be installed.
//!
//! What is in them stands in `package/component.rs`, what installing them does in
//! `packaging/deb`. `dpkg-deb` makes them, so that nothing but dpkg and binutils is needed.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;

use crate::musl::elf;
use crate::package::component::{COMPONENTS, Component};
use crate::package::sbom::Crates;
use crate::{Failed, run};

mod component;
mod sbom;

/// Makes the Debian packages.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask deb")]
pub(crate) struct Args {
    /// Where to put them
    #[arg(long, value_name = "DIR", default_value = "target/deb")]
    out: PathBuf,
    /// Their version
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// Programs that are built already lie here; without it, they are built for release
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What is the same for all packages of one run.
struct Run {
    out: PathBuf,
    version: String,
    programs: PathBuf,
    architecture: String,
    /// Whether it is for tests: soon made rather than small.
    is_quick: bool,
    crates: Crates,
}

pub(crate) fn deb(words: &[&str]) -> Result<(), Failed> {
    let words = ["deb"].iter().chain(words);
    let args = Args::try_parse_from(words).map_err(|error| Failed(error.to_string()))?;
    let is_quick = args.programs.is_some();
    let programs = match args.programs {
        Some(programs) => programs,
        None => build()?,
    };
    fs::create_dir_all(&args.out)?;
    let architecture = read("dpkg", &["--print-architecture"])?;
    let crates = Crates::locked()?;
    let run =
        Run { out: args.out, version: args.version, programs, architecture, is_quick, crates };
    COMPONENTS.iter().try_for_each(|component| run.package(component))
}

/// The programs of all packages.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    COMPONENTS.iter().flat_map(|component| component.programs).map(|(name, _)| *name)
}

/// The crates that they are built from.
pub(crate) fn crates() -> Vec<String> {
    programs().map(crate_of).collect()
}

/// Builds the programs for release; the directory that they lie in.
fn build() -> Result<PathBuf, Failed> {
    let crates = crates();
    let packages: Vec<_> = crates.iter().flat_map(|name| ["-p", name]).collect();
    run("cargo", &[&["build", "--quiet", "--release"], packages.as_slice()].concat())?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(PathBuf::from(target).join("release"))
}

impl Run {
    fn package(&self, component: &Component) -> Result<(), Failed> {
        let place = tempfile::tempdir()?;
        let tree = place.path().join("tree");
        make_directory(&tree)?;
        for (program, directory) in component.programs {
            let path = tree.join(directory).join(program);
            install(&self.programs.join(program), &path, 0o755)?;
            run("strip", &[&text(&path)])?;
        }
        for (source, target) in component.files {
            install(Path::new(source), &target_path(&tree, source, target), 0o644)?;
        }
        for directory in component.directories {
            make_directory(&tree.join(directory))?;
        }
        for page in component.pages {
            add_page(&tree, page)?;
        }
        if component.programs.iter().any(|(program, _)| *program == "ipc") {
            self.add_completions(&tree)?;
        }
        self.add_licences(component, &tree)?;
        self.add_bill(component, &tree)?;
        self.add_control(component, &tree)?;
        let name = format!("{}_{}_{}.deb", component.name, self.version, self.architecture);
        let file = self.out.join(&name);
        let pressed: &[&str] = if self.is_quick { &["-Zgzip", "-z1"] } else { &["-Zxz"] };
        let arguments = ["--root-owner-group", "--build"];
        let (tree, file) = (text(&tree), text(&file));
        read("dpkg-deb", &[pressed, &arguments, &[&tree, &file]].concat())?;
        println!("{file}");
        Ok(())
    }

    /// What shells know of the commands of `ipc`, as it prints it itself.
    fn add_completions(&self, tree: &Path) -> Result<(), Failed> {
        let places = [
            ("bash", "usr/share/bash-completion/completions/ipc"),
            ("zsh", "usr/share/zsh/vendor-completions/_ipc"),
            ("fish", "usr/share/fish/vendor_completions.d/ipc.fish"),
        ];
        for (shell, path) in places {
            let text_of_shell = read(&text(&self.programs.join("ipc")), &["completions", shell])?;
            write(&tree.join(path), &(text_of_shell + "\n"), 0o644)?;
        }
        Ok(())
    }

    fn add_licences(&self, component: &Component, tree: &Path) -> Result<(), Failed> {
        let path = tree.join("usr/share/doc").join(component.name).join("copyright");
        let mit = fs::read_to_string("LICENSE-MIT")?;
        let text = format!(
            "ipcd {}, under the Apache License, version 2.0 (/usr/share/common-licenses/Apache-2.0),\n\
             or, at your choice, under this licence:\n\n{mit}",
            self.version
        );
        write(&path, &text, 0o644)
    }

    /// What the programs are made of, for whoever looks for what is known to be unsafe.
    fn add_bill(&self, component: &Component, tree: &Path) -> Result<(), Failed> {
        let crates: Vec<_> = component.programs.iter().map(|(name, _)| crate_of(name)).collect();
        let crates: Vec<_> = crates.iter().map(String::as_str).collect();
        let bill = self.crates.bill(component.name, &self.version, &crates)?;
        let path = tree.join("usr/share/doc").join(component.name).join("sbom.cdx.json");
        write(&path, &format!("{bill:#}\n"), 0o644)
    }

    /// The files by which dpkg knows what the package is and does.
    fn add_control(&self, component: &Component, tree: &Path) -> Result<(), Failed> {
        let control = tree.join("DEBIAN");
        write(&control.join("control"), &self.description(component)?, 0o644)?;
        let configuration = component.files.iter().filter(|(_, path)| path.starts_with("etc/"));
        let configuration: Vec<_> = configuration.map(|(_, path)| format!("/{path}")).collect();
        if !configuration.is_empty() {
            write(&control.join("conffiles"), &(configuration.join("\n") + "\n"), 0o644)?;
        }
        for script in ["postinst", "prerm", "postrm"] {
            let template = fs::read_to_string(format!("packaging/deb/{script}.sh"))?;
            write(&control.join(script), &filled(&template, component), 0o755)?;
        }
        Ok(())
    }

    fn description(&self, component: &Component) -> Result<String, Failed> {
        let mut needs = component.needs.to_vec();
        for (program, _) in component.programs {
            let program = fs::read(self.programs.join(program))?;
            if !needs.contains(&LIBRARIES) && !elf::is_static(&program) {
                needs.insert(0, LIBRARIES);
            }
        }
        let needs = needs.join(", ");
        let about = component.about.join("\n ");
        Ok(format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nSection: net\nPriority: optional\n\
             Maintainer: The ipcd maintainers <ipcd@example.org>\nDepends: {}\n\
             Description: {}\n {about}\n",
            component.name,
            self.version,
            self.architecture,
            needs.replace("@VERSION@", &self.version),
            component.title,
        ))
    }
}

/// What programs need that are not static.
const LIBRARIES: &str = "libc6 (>= 2.34), libgcc-s1";

/// The crate of a program: those that carry connections are named apart from Debian's.
fn crate_of(program: &str) -> String {
    match program {
        "ipcd" | "ipc" | "pongd" => program.to_owned(),
        daemon => format!("ipcd-{daemon}"),
    }
}

/// A manual page, compressed as Debian wants it.
fn add_page(tree: &Path, page: &str) -> Result<(), Failed> {
    let section = page.rsplit('.').next().unwrap_or_default();
    let path = tree.join(format!("usr/share/man/man{section}/{page}"));
    install(&Path::new("docs/man").join(page), &path, 0o644)?;
    run("gzip", &["-9", "--no-name", &text(&path)])
}

/// A script with the names of its component.
fn filled(template: &str, component: &Component) -> String {
    let lists = [
        ("@ACCOUNTS@", component.accounts),
        ("@PLACES@", component.places),
        ("@STATE@", component.state),
        ("@ENABLE@", component.enable),
        ("@RESTART@", component.restart),
        ("@STOP@", component.stop),
    ];
    let named = template.replace("@PACKAGE@", component.name);
    lists.iter().fold(named, |text, (name, list)| text.replace(name, &list.join(" ")))
}

/// Where a file goes: `target` is its path, or for a unit its directory.
fn target_path(tree: &Path, source: &str, target: &str) -> PathBuf {
    let path = tree.join(target);
    let name = Path::new(source).file_name();
    match name.filter(|_| target.starts_with("usr/lib/systemd/") && !target.contains("preset")) {
        Some(name) => path.join(name),
        None => path,
    }
}

fn install(source: &Path, target: &Path, mode: u32) -> Result<(), Failed> {
    let content =
        fs::read(source).map_err(|error| Failed(format!("{}: {error}", source.display())))?;
    make_directory(target.parent().unwrap_or(target))?;
    fs::write(target, content)?;
    Ok(fs::set_permissions(target, fs::Permissions::from_mode(mode))?)
}

fn write(target: &Path, content: &str, mode: u32) -> Result<(), Failed> {
    make_directory(target.parent().unwrap_or(target))?;
    fs::write(target, content)?;
    Ok(fs::set_permissions(target, fs::Permissions::from_mode(mode))?)
}

/// A directory and those above it, whatever the umask.
fn make_directory(path: &Path) -> Result<(), Failed> {
    Ok(fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?)
}

fn read(program: &str, arguments: &[&str]) -> Result<String, Failed> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failed(format!("{program}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_no_gap_left() {
        for script in ["postinst", "prerm", "postrm"] {
            let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/deb"));
            let template = fs::read_to_string(root.join(format!("{script}.sh"))).unwrap();
            for component in COMPONENTS {
                let script = filled(&template, component);
                assert!(!script.contains("@ACC") && !script.contains("@PACKAGE@"), "{script}");
                assert!(!script.split_whitespace().any(|word| word.starts_with('@')), "{script}");
            }
        }
    }
}
