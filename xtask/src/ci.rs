//! `cargo xtask ci`: every check, the quick ones first.

use crate::{
    Failed, always_deny, arch, demo, deny, fuzz, limits, man, musl, ring_model, run, size,
};

pub(crate) fn run_all() -> Result<(), Failed> {
    step("fmt", || run("cargo", &["fmt", "--all", "--check"]))?;
    step("arch", arch::run)?;
    step("size", size::run)?;
    step("limits", limits::run)?;
    step("clippy", || {
        run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
        // Tests have all features of the library; most programs that link it have none.
        run("cargo", &["clippy", "-p", "libipc", "--", "-D", "warnings"])
    })?;
    step("musl", musl::check)?;
    step("doc", || {
        let doc = ["RUSTDOCFLAGS=-D warnings", "cargo", "doc", "--no-deps"];
        run("env", &[&doc[..], &["--workspace"]].concat())?;
        run("env", &[&doc[..], &["-p", "libipc", "--all-features"]].concat())
    })?;
    step("test", || run("cargo", &["test", "--workspace"]))?;
    step("loom", ring_model::check)?;
    step("config", check_configs)?;
    step("man", || man::run(man::Task::Check))?;
    step("demo", || demo::run(None))?;
    step("always-deny", || always_deny::run(&always_deny::QUICK))?;
    step("fuzz", || fuzz::run(&[]))?;
    step("deny", deny::check)
}

/// Every file that we ship is one that our own check accepts.
fn check_configs() -> Result<(), Failed> {
    run("cargo", &["build", "--quiet", "-p", "ipc"])?;
    let mut files = vec!["config/ipcd.toml".to_owned()];
    for entry in std::fs::read_dir("config/examples")? {
        files.push(entry?.path().display().to_string());
    }
    // Where this program was built, there the other is too.
    let ipc = std::env::current_exe()?.with_file_name("ipc").display().to_string();
    files.iter().try_for_each(|file| run(&ipc, &["--format", "table", "check", "--config", file]))
}

fn step(name: &str, check: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    println!("== {name}");
    check().map_err(|Failed(why)| Failed(format!("{name}: {why}")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    #[test]
    fn what_the_oldest_compiler_does_not_have_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let manifest = format!(
            "[package]\nname = 'newer'\nedition = '2024'\nrust-version = '{}'\n[workspace]\n",
            env!("CARGO_PKG_RUST_VERSION")
        );
        fs::write(place.path().join("Cargo.toml"), manifest).unwrap();
        fs::create_dir(place.path().join("src")).unwrap();
        let clippy = |text: &str| {
            fs::write(place.path().join("src/lib.rs"), text).unwrap();
            let mut clippy = Command::new("cargo");
            clippy.args(["clippy", "--offline", "--", "-D", "warnings"]);
            let output = clippy.current_dir(place.path()).env_remove("CARGO_TARGET_DIR").output();
            let output = output.unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (is_fine, said) = clippy("pub fn f() -> bool { 4_u8.is_multiple_of(2) }");
        assert!(is_fine, "{said}");
        let newer = "pub fn f() -> std::time::Duration { std::time::Duration::from_mins(1) }";
        let (is_fine, said) = clippy(newer);
        assert!(!is_fine && said.contains("incompatible_msrv"), "{said}");
    }
}
