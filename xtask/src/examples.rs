//! Every public type of the library has an example in its documentation.

use std::fs;
use std::process::Command;

use crate::Failed;

/// Types without an example, each as a problem.
pub(crate) fn problems() -> Result<Vec<String>, Failed> {
    let output = Command::new("git").args(["ls-files", "libipc/src/*.rs"]).output()?;
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut problems = Vec::new();
    for file in files.lines().filter(|file| !file.ends_with("tests.rs")) {
        for name in without_example(&fs::read_to_string(file)?) {
            problems.push(format!("{file}: {name} has no example in its documentation"));
        }
    }
    Ok(problems)
}

/// The public types of a file whose documentation has no example.
fn without_example(text: &str) -> Vec<&str> {
    let mut lacking = Vec::new();
    let mut has_example = false;
    for line in text.lines() {
        if let Some(documentation) = line.strip_prefix("///") {
            has_example |= documentation.trim_start().starts_with("```");
            continue;
        }
        if let Some(name) = type_of(line)
            && !has_example
        {
            lacking.push(name);
        }
        // Attributes stand between a type and its documentation, perhaps over several lines.
        let is_attribute = line.starts_with("#[") || line.starts_with(' ') || line.starts_with(')');
        has_example &= is_attribute;
    }
    lacking
}

/// The public type that is defined in a line.
fn type_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ")?;
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    rest.split(|character: char| !character.is_alphanumeric()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_an_example_are_found() {
        let text = "/// One.\n///\n/// ```\n/// ```\n#[derive(\n    Debug\n)]\npub struct One(u8);\n\n\
                    /// Two.\npub enum Two<'a> {\n    /// ```\n    Three,\n}\npub type Four = u8;\n\
                    pub(crate) struct Five;\nstruct Six;\n";
        assert_eq!(without_example(text), ["Two", "Four"]);
    }
}
