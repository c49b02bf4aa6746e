//! What a package's programs are made of, as `CycloneDX`: every crate that is linked into them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::Failed;

/// All crates of the workspace and below it, as cargo has locked them.
pub(super) struct Crates {
    packages: BTreeMap<String, Value>,
    needs: BTreeMap<String, Vec<String>>,
}

impl Crates {
    /// Asks cargo, for the machine that this runs on.
    pub(super) fn locked() -> Result<Self, Failed> {
        let host = host()?;
        let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
        let output = Command::new("cargo").args(arguments).arg(host).output()?;
        if !output.status.success() {
            return Err(Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| Failed(error.to_string()))?;
        let packages = list(&metadata, "/packages").iter();
        let nodes = list(&metadata, "/resolve/nodes").iter();
        Ok(Self {
            packages: packages.map(|one| (text(one, "id"), one.clone())).collect(),
            needs: nodes.map(|node| (text(node, "id"), needs(node))).collect(),
        })
    }

    /// The bill of materials of a package with programs of these crates.
    pub(super) fn bill(
        &self,
        package: &str,
        version: &str,
        crates: &[&str],
    ) -> Result<Value, Failed> {
        let linked = linked(crates)?;
        let is_linked = |one: &Value| linked.contains(&(text(one, "name"), text(one, "version")));
        let found: Vec<_> = self.packages.iter().filter(|(_, one)| is_linked(one)).collect();
        let ids: BTreeSet<&String> = found.iter().map(|(id, _)| *id).collect();
        let needs = |id: &String| -> Vec<String> {
            let needs = self.needs.get(id).into_iter().flatten().filter(|need| ids.contains(need));
            needs.filter_map(|need| self.packages.get(need)).map(reference).collect()
        };
        let dependency =
            |(id, one): &(&String, &Value)| json!({"ref": reference(one), "dependsOn": needs(id)});
        Ok(json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {"type": "application", "name": package, "version": version},
            },
            "components": found.iter().map(|(_, one)| component(one)).collect::<Vec<_>>(),
            "dependencies": found.iter().map(dependency).collect::<Vec<_>>(),
        }))
    }
}

/// The crates that are linked into programs of these, each with its version: with the features that
/// they ask for, without what the compiler runs.
fn linked(crates: &[&str]) -> Result<BTreeSet<(String, String)>, Failed> {
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]);
    tree.args(["--edges", "normal,no-proc-macro"]);
    tree.args(crates.iter().flat_map(|name| ["--package", name]));
    let output = tree.output()?;
    if !output.status.success() {
        return Err(Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let one = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    };
    Ok(said.lines().filter_map(one).collect())
}

/// What is linked: neither what builds nor what tests.
fn needs(node: &Value) -> Vec<String> {
    let is_linked = |one: &&Value| {
        list(one, "/dep_kinds").iter().any(|kind| kind.get("kind").is_none_or(Value::is_null))
    };
    list(node, "/deps").iter().filter(is_linked).map(|one| text(one, "pkg")).collect()
}

/// How a bill calls a crate; no path of the machine that made it is in it.
fn reference(package: &Value) -> String {
    format!("{}@{}", text(package, "name"), text(package, "version"))
}

fn component(package: &Value) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": name,
        "version": version,
    });
    let mut set = |key: &str, value: Value| {
        if let Some(fields) = component.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    let license = text(package, "license");
    if !license.is_empty() {
        set("licenses", json!([{"expression": license.replace('/', " OR ")}]));
    }
    if package.get("source").is_some_and(Value::is_string) {
        set("purl", json!(format!("pkg:cargo/{name}@{version}")));
    }
    component
}

fn list<'v>(value: &'v Value, place: &str) -> &'v [Value] {
    value.pointer(place).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The machine that this runs on, as the compiler calls it.
fn host() -> Result<String, Failed> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failed("rustc does not say its host".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_has_what_is_linked_with_its_version_and_licence_and_nothing_else() {
        let crates = Crates::locked().unwrap();
        let bill = crates.bill("ipcd", "0.1.0", &["ipcd", "ipc"]).unwrap();
        let components = list(&bill, "/components");
        let named = |name: &str| components.iter().find(|one| text(one, "name") == name);
        let nix = named("nix").unwrap();
        assert!(text(nix, "purl").starts_with("pkg:cargo/nix@0."), "{nix}");
        assert_eq!(nix.pointer("/licenses/0/expression").unwrap(), "MIT");
        assert!(named("libipc").unwrap().get("purl").is_none());
        // Only tlsd links TLS; what tests and builds is linked nowhere.
        for absent in ["rustls", "tokio", "tempfile", "rcgen", "proptest", "cc"] {
            assert!(named(absent).is_none(), "{absent}");
        }
        let tls = crates.bill("ipcd-tlsd", "0.1.0", &["ipcd-tlsd"]).unwrap();
        assert!(list(&tls, "/components").iter().any(|one| text(one, "name") == "rustls"));
        // Whatever is needed is there.
        let known: BTreeSet<String> = components.iter().map(|one| text(one, "bom-ref")).collect();
        for one in list(&bill, "/dependencies") {
            let needs = list(one, "/dependsOn").iter().filter_map(Value::as_str);
            assert!(needs.into_iter().all(|need| known.contains(need)), "{one}");
        }
    }
}
