//! `cargo xtask limits`: `docs/limits.md` has every limit, with the value that the code has, and
//! the tests that pages name are there.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::Failed;

const PAGE: &str = "docs/limits.md";

/// The other pages that name tests.
const CLAIMS: [&str; 3] = ["docs/threat-model.md", "docs/migrating.md", PREDECESSORS];

/// The page with a row for each thing that the predecessors had.
const PREDECESSORS: &str = "docs/predecessors.md";

/// How many things those were, and which of them other pages have.
const FEATURES: std::ops::RangeInclusive<u32> = 1..=149;
const FEATURES_ELSEWHERE: [std::ops::RangeInclusive<u32>; 3] = [21..=23, 117..=123, 132..=137];

/// Where the keys of `[limits]` are.
const KEYS: &str = "policy/src/config/limits.rs";

/// Programs that no peer meets.
const NOT_SHIPPED: [&str; 6] = ["bench/", "bindings/", "fuzz/", "pongd/", "tests/", "xtask/"];

pub(crate) fn run() -> Result<(), Failed> {
    let rows = rows(&fs::read_to_string(PAGE)?);
    let keys = fs::read_to_string(KEYS)?;
    let mut problems = Vec::new();
    for row in &rows {
        problems.extend(check(row, &keys)?);
    }
    for page in CLAIMS {
        for claim in claims(&fs::read_to_string(page)?) {
            problems.extend(no_such_test(claim)?.map(|problem| format!("{page}: {problem}")));
        }
    }
    problems.extend(features_without_a_row(&fs::read_to_string(PREDECESSORS)?));
    let named: BTreeSet<_> = rows.iter().map(|row| row.place.clone()).collect();
    let all = constants()?.into_iter().chain(configured(&keys).map(|(key, _)| Place::Key(key)));
    let missing = all.filter(|place| !named.contains(place));
    problems.extend(missing.map(|place| format!("{PAGE} has no row for {place:?}")));
    if problems.is_empty() {
        let tested = rows.iter().filter(|row| row.test.is_some()).count();
        println!("limits: {} as the code has them, {tested} with a test at the limit", rows.len());
        return Ok(());
    }
    Err(Failed(problems.join("\n")))
}

/// Where a limit is written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    /// A key of `[limits]`.
    Key(String),
    /// A constant of a file.
    Constant(String, String),
    /// It follows from how the code is made.
    Nowhere,
}

/// One limit of the page.
struct Row {
    value: Option<u64>,
    place: Place,
    test: Option<String>,
    text: String,
}

/// The rows of all tables: limit, value, where, told as, test.
fn rows(page: &str) -> Vec<Row> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, value, place, _, test] = cells.as_slice() else { return None };
        let words: Vec<&str> = place.split('`').filter(|word| !word.trim().is_empty()).collect();
        let place = match words.as_slice() {
            [file, constant] => Place::Constant((*file).to_owned(), (*constant).to_owned()),
            [key] if key.starts_with("[limits] ") => {
                Place::Key(key.trim_start_matches("[limits] ").to_owned())
            }
            _ => Place::Nowhere,
        };
        let test = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
        let (value, test) = (number(value), test.map(str::to_owned));
        Some(Row { value, place, test, text: line.to_owned() })
    };
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| limit"));
    lines.filter_map(row).collect()
}

/// What is wrong with one row.
fn check(row: &Row, keys: &str) -> Result<Vec<String>, Failed> {
    let mut problems = Vec::new();
    let value = match &row.place {
        Place::Nowhere => row.value,
        Place::Key(key) => configured(keys).find(|(known, _)| known == key).map(|(_, value)| value),
        Place::Constant(file, name) => {
            constant(&fs::read_to_string(file).unwrap_or_default(), name)
        }
    };
    if value.is_none() || value != row.value {
        problems.push(format!("the code has {value:?}: {}", row.text));
    }
    if let Some(test) = &row.test {
        problems.extend(no_such_test(test)?);
    }
    Ok(problems)
}

/// The tests that another page names: what has as many words as a claim has.
fn claims(page: &str) -> impl Iterator<Item = &str> {
    let is_claim = |name: &&str| {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name && name.matches('_').count() >= WORDS_LEAST
    };
    page.split('`').filter(is_claim)
}

/// Rows that the page of the predecessors lacks, and those that name no test though they do not
/// say that there is nothing to test.
fn features_without_a_row(page: &str) -> Vec<String> {
    let mut missing: BTreeSet<u32> = FEATURES.collect();
    missing.retain(|number| !FEATURES_ELSEWHERE.iter().any(|range| range.contains(number)));
    let mut problems = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let numbers = line.trim_matches('|').split('|').next().unwrap_or_default();
        let numbers: Vec<u32> =
            numbers.split(',').filter_map(|one| one.trim().parse().ok()).collect();
        if !numbers.is_empty() && claims(line).next().is_none() && !line.contains(NOT_YET) {
            problems.push(format!("{PREDECESSORS}: {numbers:?} names no test"));
        }
        missing.retain(|number| !numbers.contains(number));
    }
    problems.extend((!missing.is_empty()).then(|| format!("{PREDECESSORS} lacks {missing:?}")));
    problems
}

/// What a row says that needs no test yet.
const NOT_YET: &str = "not in this version";

/// Words of the shortest name of a test that is recognised, but one.
const WORDS_LEAST: usize = 3;

fn no_such_test(test: &str) -> Result<Option<String>, Failed> {
    let wanted = format!("fn {test}(");
    let found = Command::new("git").args(["grep", "-qF", &wanted, "--", "*.rs"]).status()?;
    Ok((!found.success()).then(|| format!("there is no test {test}")))
}

/// A value as the page has it: `16,384`, `64 KiB`, `250 ms`. Times are in milliseconds.
fn number(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" | "ms" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(number.replace(',', "").parse::<u64>().ok()? * factor)
}

/// The value of a constant of a file, if it is made of numbers.
fn constant(file: &str, name: &str) -> Option<u64> {
    let (_, rest) = file.split_once(&format!("const {name}: "))?;
    let (_, value) = rest.split_once(';')?.0.split_once('=')?;
    let value = value.trim();
    let unwrapped = |prefix: &str| value.strip_prefix(prefix)?.strip_suffix(')');
    if let Some(seconds) = unwrapped("Duration::from_secs(") {
        return Some(product(seconds)? * 1_000);
    }
    product(unwrapped("Duration::from_millis(").unwrap_or(value)).or_else(|| elsewhere(value))
}

/// The value of a constant that is another one, of any file.
fn elsewhere(name: &str) -> Option<u64> {
    let wanted = format!("const {name}: ");
    let found = Command::new("git").args(["grep", "-hF", &wanted, "--", "*.rs"]).output().ok()?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let (_, value) = found.lines().next()?.split_once('=')?;
    product(value.trim().trim_end_matches(';'))
}

/// `2 * 64 * 1024` and `1 << 20`.
fn product(text: &str) -> Option<u64> {
    if let Some((number, by)) = text.split_once("<<") {
        return product(number)?.checked_shl(by.trim().parse().ok()?);
    }
    let factors = text.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>());
    factors.collect::<Result<Vec<_>, _>>().ok().map(|factors| factors.iter().product())
}

/// The keys of `[limits]` with their defaults; keys of times end in `-ms`.
fn configured(file: &str) -> impl Iterator<Item = (String, u64)> + '_ {
    file.lines().filter_map(|line| {
        let (_, rest) = line.trim().strip_suffix(';')?.split_once(", \"")?;
        let (key, rest) = rest.split_once("\", ")?;
        Some((key.to_owned(), product(rest.split_once(',')?.0)?))
    })
}

/// The constants of what we ship that are named as limits.
fn constants() -> Result<Vec<Place>, Failed> {
    let pattern = r"const ([A-Z_]*_)?MOST: ";
    let output = Command::new("git").args(["grep", "-E", pattern, "--", "*.rs"]).output()?;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let place = |line: &str| {
        let (file, code) = line.split_once(':')?;
        let is_ours = !NOT_SHIPPED.iter().any(|tree| file.starts_with(tree));
        let is_test =
            file.contains("/tests") || file.contains("/examples/") || code.starts_with(' ');
        let name = code.split_once("const ")?.1.split_once(':')?.0;
        (is_ours && !is_test).then(|| Place::Constant(file.to_owned(), name.to_owned()))
    };
    Ok(found.lines().filter_map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_and_as_the_compiler_write_them() {
        for (text, expected) in
            [("16,384", 16_384), ("64 KiB", 65_536), ("10 min", 600_000), ("250 ms", 250)]
        {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        let file = "pub const A_MOST: usize = 64 * 1_024;\nconst B: Duration = Duration::from_secs(5);\n\
                    const C: usize = 1 << 20;\n    const D: X = X { a: 1 };";
        let values = ["A_MOST", "B", "C", "D", "E"].map(|name| constant(file, name));
        assert_eq!(values, [Some(65_536), Some(5_000), Some(1 << 20), None, None]);
    }

    #[test]
    fn features_without_a_row_or_a_test_are_told_of() {
        let row = |number: &str, test: &str| format!("| {number} | a | b | {test} |\n");
        let numbers = (1..=149).filter(|number| !(21..=23).contains(number) && *number != 149);
        let mut page: String =
            numbers.map(|number| row(&number.to_string(), "`a_test_of_ours`")).collect();
        let lacks = features_without_a_row(&page);
        assert_eq!(lacks, ["docs/predecessors.md lacks {149}"]);
        page += &row("148, 149", "–");
        assert_eq!(
            features_without_a_row(&page),
            ["docs/predecessors.md: [148, 149] names no test"]
        );
    }

    #[test]
    fn a_row_that_says_something_else_than_the_code_is_told_of() {
        let keys = "    clients: usize, \"clients\", 16_384, 1..=1_000_000;\n";
        let judge = |line: &str| {
            let rows = rows(line);
            check(&rows[0], keys).unwrap().len()
        };
        assert_eq!(judge("| clients | 16,384 | `[limits] clients` | Busy | – |"), 0);
        assert_eq!(judge("| clients | 16,385 | `[limits] clients` | Busy | – |"), 1);
        assert_eq!(judge("| clients | 16,384 | `[limits] guests` | Busy | – |"), 1);
        assert_eq!(
            judge("| clients | 16,384 | `[limits] clients` | Busy | `no_such_test_of_ours` |"),
            1
        );
    }
}
