//! Whether a client's process still lives, asked by its number and by when it was seen.

use std::fs;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Units of the start time in `/proc/PID/stat`, per second: `USER_HZ`, which is 100 on every
/// machine that Linux of our time runs on (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// Whether the process that had the number `pid` at `seen` lives at `now`. A number that another
/// process has by now began later. If that cannot be known, it lives.
pub(crate) fn lives(pid: u32, seen: Instant, now: Instant) -> bool {
    let stat = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // Files of a process that ends while they are read fail with ESRCH.
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound && !is_gone(&error),
    };
    let (Some(facts), Some(uptime)) = (Facts::read(&stat), uptime()) else { return true };
    let seen = uptime.saturating_sub(now.saturating_duration_since(seen));
    !facts.is_zombie && facts.begun <= seen
}

fn is_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// Time since the machine started, with sleep.
fn uptime() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[derive(Debug, Eq, PartialEq)]
struct Facts {
    is_zombie: bool,
    /// When it began, since the machine started; rounded down.
    begun: Duration,
}

impl Facts {
    /// Fields 3 and 22 of the line. The second one, the program's name, may hold anything; the
    /// last `)` ends it.
    fn read(stat: &[u8]) -> Option<Self> {
        let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let text = std::str::from_utf8(stat.get(behind..)?).ok()?;
        let mut fields = text.split_ascii_whitespace();
        let state = fields.next()?;
        let ticks: u64 = fields.nth(18)?.parse().ok()?;
        let begun = Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND));
        Some(Self { is_zombie: matches!(state, "Z" | "X"), begun })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_lives_until_it_has_ended_even_if_nobody_has_waited_for_it() {
        let now = Instant::now();
        assert!(lives(std::process::id(), now, now));
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let seen = Instant::now();
        assert!(lives(child.id(), seen, Instant::now()));
        drop(child.stdin.take());
        std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        while lives(child.id(), seen, Instant::now()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!lives(child.id(), seen, Instant::now()));
    }

    #[test]
    fn a_number_that_was_seen_before_its_process_began_is_another_ones() {
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(3600));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        if let Some(long_ago) = long_ago {
            assert!(!lives(child.id(), long_ago, Instant::now()));
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_name_of_a_program_is_no_field() {
        let stat = b"12 (a) Z 7 (b)) S 1 12 12 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 4200 0 0";
        let facts = Facts { is_zombie: false, begun: Duration::from_secs(42) };
        assert_eq!(Facts::read(stat), Some(facts));
        assert_eq!(Facts::read(b"12 (a"), None);
        assert_eq!(Facts::read(b""), None);
    }
}
