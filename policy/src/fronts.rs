//! Fronts: paths that stand for names, for programs that can only open a path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libipc::name::ServiceName;
use settings::Problem;

use crate::config::{Config, Front};

/// Bytes of the longest path that a socket can have.
const PATH_MOST: usize = 107;

/// Which names have fronts in `directory`, the place of all fronts of a broker, and where.
///
/// # Errors
///
/// Every front that could not be opened there, wherever it is written.
pub fn places(
    config: &Config,
    directory: &Path,
) -> Result<BTreeMap<PathBuf, ServiceName>, Vec<Problem>> {
    let mut places: BTreeMap<PathBuf, ServiceName> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, service) in &config.services {
        let path = match &service.front {
            None => continue,
            Some(Front::ByName) => directory.join(name.as_str()),
            // Without a `/` at its end, behind which nothing can be opened.
            Some(Front::At(path)) => path.components().collect(),
        };
        match fault(&path, directory, &places) {
            None => drop(places.insert(path, name.clone())),
            Some(fault) => {
                let message = format!("the front {} {fault}", path.display());
                problems.push(Problem::new(&service.front_at, message));
            }
        }
    }
    if problems.is_empty() { Ok(places) } else { Err(problems) }
}

/// The lock that is held while a front is opened.
#[must_use]
pub fn lock(directory: &Path) -> PathBuf {
    directory.join(".lock")
}

/// Why there can be no front at `path` beside those at `places`.
fn fault(path: &Path, directory: &Path, places: &BTreeMap<PathBuf, ServiceName>) -> Option<String> {
    if !path.starts_with(directory) || path == directory {
        return Some(format!("is not below {}", directory.display()));
    }
    if path.as_os_str().len() > PATH_MOST {
        return Some(format!("is longer than {PATH_MOST} bytes"));
    }
    if path.starts_with(lock(directory)) {
        return Some("has the name of the broker's own lock there: choose another".to_owned());
    }
    if let Some(other) = places.get(path) {
        return Some(format!("is also that of {other}"));
    }
    let is_inside = |other: &PathBuf| path.starts_with(other) || other.starts_with(path);
    let (other, _) = places.iter().find(|(other, _)| is_inside(other))?;
    Some(format!(
        "cannot be there beside the front {}: one would lie in the other",
        other.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;
    use crate::config::Sources;
    use crate::fixture::{Host, config, main_only};

    const DIRECTORY: &str = "/run/ipc/front";

    fn problems(text: &str) -> Vec<String> {
        let found = places(&config(text), Path::new(DIRECTORY)).unwrap_err();
        found.into_iter().map(|problem| problem.message).collect()
    }

    fn at(path: &str) -> String {
        format!("services.x.front = '{path}'")
    }

    #[test]
    fn a_front_is_below_the_place_of_fronts_and_not_its_lock() {
        for (path, fault) in [
            ("/tmp/x", "is not below /run/ipc/front"),
            ("/run/ipc/front/", "is not below /run/ipc/front"),
            ("/run/ipc/frontal", "is not below /run/ipc/front"),
            ("/run/ipc/front/.lock", "has the name of the broker's own lock there: choose another"),
            (
                "/run/ipc/front/./.lock/x",
                "has the name of the broker's own lock there: choose another",
            ),
        ] {
            let shown = PathBuf::from(path).components().collect::<PathBuf>();
            let expected = format!("the front {} {fault}", shown.display());
            assert_eq!(problems(&at(path)), [expected]);
        }
        let longest = format!("{DIRECTORY}/{}", "x".repeat(PATH_MOST - DIRECTORY.len() - 1));
        assert!(places(&config(&at(&longest)), Path::new(DIRECTORY)).is_ok());
        assert!(problems(&at(&format!("{longest}x")))[0].ends_with("is longer than 107 bytes"));
        let open = places(&config(&at("/run/ipc/front/a//b/")), Path::new(DIRECTORY)).unwrap();
        assert_eq!(open.keys().next().unwrap().as_os_str(), "/run/ipc/front/a/b");
    }

    #[test]
    fn no_front_is_in_the_place_of_another() {
        let two = |one: &str, other: &str| {
            problems(&format!("services.a.front = '{one}'\nservices.b.front = '{other}'"))
        };
        assert_eq!(
            two("/run/ipc/front/b", "/run/ipc/front/b/"),
            ["the front /run/ipc/front/b is also that of a"]
        );
        for (one, other) in [("d", "d/e"), ("d/e", "d")] {
            let (one, other) = (format!("{DIRECTORY}/{one}"), format!("{DIRECTORY}/{other}"));
            let expected = format!(
                "the front {other} cannot be there beside the front {one}: one would lie in the other"
            );
            assert_eq!(two(&one, &other), [expected]);
        }
    }

    #[test]
    fn a_check_looks_at_the_fronts_of_the_places_that_it_is_told() {
        let sources: Sources = main_only("services.x.front = '/run/ipc/front/x'");
        let passes = |directories: &[&str]| {
            let directories: Vec<_> = directories.iter().map(PathBuf::from).collect();
            check(&sources, &Host, &directories)
        };
        assert!(passes(&["/run/user/7/ipc/front", DIRECTORY]).passes(true));
        let report = passes(&["/run/user/7/ipc/front"]);
        assert!(!report.passes(false));
        assert_eq!(
            report.problems[0].to_string(),
            "ipcd.toml:1:20: the front /run/ipc/front/x is not below /run/user/7/ipc/front"
        );
    }
}
