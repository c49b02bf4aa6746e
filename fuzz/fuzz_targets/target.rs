//! Targets: one canonical form, which means itself, and shows no secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::scheme::Schemes;
use policy::target::{Author, Target};

fuzz_target!(|text: &str| {
    let schemes = Schemes::default();
    for author in [Author::Client, Author::Administrator] {
        match Target::parse(text, author, &schemes) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(target) => {
                let service = target.remote().and_then(|remote| remote.service.as_ref());
                let plain = match target.remote() {
                    None => format!("{}", target.local().expect("one of the two")),
                    Some(remote) => {
                        let service = service.map(|service| format!("/{service}"));
                        let service = service.unwrap_or_default();
                        format!("{}://{}:{}{service}", remote.scheme, remote.host, remote.port)
                    }
                };
                let again = Target::parse(&plain, Author::Client, &schemes).expect("canonical");
                assert_eq!(again.to_string(), target.to_string());
                assert!(target.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
});
