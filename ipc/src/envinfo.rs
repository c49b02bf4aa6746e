//! `ipc envinfo`, and what `ipc version --extended` tells: what this program is, and where it runs.

use std::process::ExitCode;

use serde_json::json;

use crate::format::Format;
use crate::report::{self, Report};

const SCHEMA: &str = "https://schemas.3leaps.dev/ipcprims/cli/v1/envinfo.schema.json";

/// Environment that changes what the commands do.
const VARIABLES: [&str; 5] =
    ["IPC_RUNDIR", "IPC_NETWORK_FILE", "XDG_RUNTIME_DIR", "LISTEN_FDS", "IPC_BROKER_FD"];

/// Prints the facts. `IPC_NETWORK` may hold secrets: only whether it is set is told.
pub(crate) fn run(format: Format) -> Result<ExitCode, Report> {
    let version = env!("CARGO_PKG_VERSION");
    let set = |name: &str| std::env::var(name).ok();
    let mut environment: serde_json::Map<_, _> =
        VARIABLES.iter().map(|name| ((*name).to_owned(), json!(set(name)))).collect();
    let network = std::env::var_os("IPC_NETWORK").map(|_| "***");
    environment.insert("IPC_NETWORK".to_owned(), json!(network));
    let kernel = nix::sys::utsname::uname().ok();
    let kernel = kernel.as_ref().map(|kernel| kernel.release().to_string_lossy().into_owned());
    let facts = json!({
        "schema_id": SCHEMA,
        "version": version,
        "target": target(),
        "rust_version": env!("CARGO_PKG_RUST_VERSION"),
        "platform": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
                      "kernel": kernel },
        "features": ["schema"],
        "environment": environment,
    });
    let failed = |error| Report::new(125, "output", "our mistake", error);
    let text = match format {
        Format::Raw => version.to_owned(),
        Format::Json => serde_json::to_string(&facts).map_err(failed)?,
        Format::Pretty => serde_json::to_string_pretty(&facts).map_err(failed)?,
        Format::Table => table(&facts),
    };
    report::print(&(text + "\n"))
}

/// `name: value` lines.
pub(crate) fn version() -> String {
    let (version, os, arch) =
        (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "name: ipc\nversion: {version}\ntarget_os: {os}\ntarget_arch: {arch}\nrustc: {}\n",
        env!("CARGO_PKG_RUST_VERSION")
    )
}

fn target() -> String {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-unknown-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

/// One line for each fact; what is not set is `-`.
fn table(facts: &serde_json::Value) -> String {
    let mut lines = Vec::new();
    for (name, value) in facts.as_object().into_iter().flatten() {
        match value.as_object() {
            _ if name == "schema_id" => {}
            Some(inner) => {
                lines.push(format!("{name}:"));
                lines.extend(
                    inner.iter().map(|(name, value)| format!("  {name}: {}", plain(value))),
                );
            }
            None => lines.push(format!("{name}: {}", plain(value))),
        }
    }
    lines.join("\n")
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.escape_debug().to_string(),
        serde_json::Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
