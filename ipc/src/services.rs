//! `ipc services`: the services of this host.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::ExitCode;

use libipc::ServiceName;
use libipc::interface::control::{ListServices, SERVICES, Service, ServiceKind, Services};

use crate::control;
use crate::format::{self, Format, Rows};
use crate::place::Place;
use crate::report::Report;

pub(crate) fn run(place: &Place, format: Format) -> Result<ExitCode, Report> {
    let mut all: Vec<Service> = Vec::new();
    let mut after = None;
    loop {
        let wanted = ListServices { after };
        let some: Services = control::ask(place, "services", SERVICES, &wanted)?;
        all.extend(some.services);
        after = some.next;
        if after.is_none() {
            break;
        }
    }
    add_unlisted(place, &mut all);
    let mut rows = Rows::new(["NAME", "KIND", "OWNER", "THERE", "CLIENTS"], "no service is known");
    for service in &all {
        rows.add(row(service));
    }
    format::print(format, &Services { services: all, next: None }, &rows)
}

/// The system's broker may not list the place where services listen; whoever may adds what is
/// there and has not been asked for yet.
fn add_unlisted(place: &Place, all: &mut Vec<Service>) {
    let Ok(directory) = control::directory(place) else { return };
    let entries = fs::read_dir(directory.services()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_str().and_then(|name| ServiceName::new(name).ok());
        let (Some(name), Ok(facts)) = (name, entry.metadata()) else { continue };
        let is_listed = all.iter().any(|service| service.name == name.as_str());
        if !is_listed && facts.file_type().is_socket() {
            let (name, owner) = (name.to_string(), Some(facts.uid()));
            let kind = ServiceKind::Socket;
            all.push(Service { name, kind, owner, available: true, clients: 0 });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
}

fn row(service: &Service) -> [String; 5] {
    let kind = match service.kind {
        ServiceKind::Registered => "registered",
        ServiceKind::Socket => "socket",
        ServiceKind::Path => "path",
    };
    let owner = service.owner.map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}"));
    let there = if service.available { "yes" } else { "no" };
    let clients = service.clients.to_string();
    [service.name.clone(), kind.to_owned(), owner, there.to_owned(), clients]
}
