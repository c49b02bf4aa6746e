//! `ipc envinfo` and `ipc version`: what this program is, and where it runs.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::format::{self, Format, Listing};
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
        "target": env!("IPC_TARGET"),
        "rust_version": env!("IPC_RUSTC"),
        "git_hash": GIT_HASH,
        "platform": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
                      "kernel": kernel },
        "features": FEATURES,
        "dependencies": { "clap": env!("IPC_CLAP"), "jsonschema": env!("IPC_JSONSCHEMA") },
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

/// The commit, if whoever built this said it.
const GIT_HASH: &str = match option_env!("GIT_HASH") {
    Some(hash) => hash,
    None => "unknown",
};

/// What libipc was built with.
const FEATURES: [&str; 2] = ["rendezvous", "schema"];

/// What `ipc version` tells; `None`: only `--extended` does.
#[derive(Serialize)]
struct Told {
    name: &'static str,
    version: &'static str,
    #[serde(flatten)]
    more: Option<Extended>,
}

#[derive(Serialize)]
struct Extended {
    target_os: &'static str,
    target_arch: &'static str,
    rustc: &'static str,
    git_hash: &'static str,
    features: [&'static str; 2],
}

/// Prints the version: as ipcprims has it, unless somebody has chosen a form of data.
pub(crate) fn version(extended: bool, format: Option<Format>) -> Result<ExitCode, Report> {
    let more = extended.then_some(Extended {
        target_os: std::env::consts::OS,
        target_arch: std::env::consts::ARCH,
        rustc: env!("IPC_RUSTC"),
        git_hash: GIT_HASH,
        features: FEATURES,
    });
    let told = Told { name: "ipc", version: env!("CARGO_PKG_VERSION"), more };
    let facts = facts(&told);
    let Some(format) = format else {
        let lines = facts.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let text = if extended { lines.collect() } else { format!("ipc {}\n", told.version) };
        return report::print(&text);
    };
    let mut listing = Listing::new(format!("ipc {}", told.version));
    for (name, value) in facts {
        listing.add(name, value);
    }
    format::print(format, &told, &listing)
}

fn facts(told: &Told) -> Vec<(&'static str, String)> {
    let mut facts = vec![("name", told.name.into()), ("version", told.version.into())];
    if let Some(more) = &told.more {
        facts.extend([
            ("target_os", more.target_os.to_owned()),
            ("target_arch", more.target_arch.to_owned()),
            ("rustc", more.rustc.to_owned()),
            ("git_hash", more.git_hash.to_owned()),
            ("features", more.features.join(", ")),
        ]);
    }
    facts
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
