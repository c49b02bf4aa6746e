//! Clients at full rate, until a file is there: `load NAME THREADS FILE`. Each thread has one
//! connection that it keeps, and makes others, one after the other; on all of them a few bytes go
//! to the service and have to come back. At the end a line of JSON tells how that went.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]
#![expect(clippy::expect_used, reason = "tests: a broken premise ends them")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libipc::Stream;

/// How long any one thing may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one thread has seen.
#[derive(Debug, Default)]
struct Seen {
    made: u64,
    failed: Vec<String>,
    slowest: Duration,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let name = words.next().expect("a name");
    let threads: usize = words.next().expect("a number").parse().expect("a number");
    let end = PathBuf::from(words.next().expect("a file"));
    let all: Vec<Seen> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(|| ask(&name, &end))).collect();
        started.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let made: u64 = all.iter().map(|seen| seen.made).sum();
    let slowest = all.iter().map(|seen| seen.slowest).max().unwrap_or_default().as_millis();
    let failed: Vec<_> = all.iter().flat_map(|seen| &seen.failed).collect();
    let (count, first) = (failed.len(), failed.iter().take(5).collect::<Vec<_>>());
    println!(
        "{}",
        serde_json::json!({
            "made": made, "failed": count, "slowest": slowest, "first": first,
        })
    );
}

fn ask(name: &str, end: &Path) -> Seen {
    let mut seen = Seen::default();
    // A broker may be killed in this very moment too.
    let mut kept = std::iter::repeat_with(|| libipc::connect(name))
        .find_map(Result::ok)
        .expect("the connection to keep");
    let mut turn = 0_u64;
    while !end.exists() {
        turn += 1;
        let began = Instant::now();
        match libipc::connect(name) {
            // A broker that is killed between its answer and what follows that takes the connection
            // along: nobody had it yet.
            Ok(mut stream) => {
                if let Err(error) = echo(&mut stream, turn) {
                    seen.failed.push(format!("the connection ended: {error}"));
                }
            }
            Err(error) => seen.failed.push(error.to_string()),
        }
        seen.slowest = seen.slowest.max(began.elapsed());
        seen.made += 1;
        echo(&mut kept, turn).expect("what was handed over stays");
    }
    seen
}

fn echo(stream: &mut Stream, turn: u64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&turn.to_le_bytes())?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    assert_eq!(u64::from_le_bytes(answer), turn, "bytes were lost");
    Ok(())
}
