//! `ipc services`: the services of this host.

use std::process::ExitCode;

use libipc::interface::control::{ListServices, SERVICES, Service, ServiceKind, Services};

use crate::args::Place;
use crate::control;
use crate::format::{self, Format, Rows};
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
    let mut rows = Rows::new(["NAME", "KIND", "OWNER", "THERE", "CLIENTS"], "no service is known");
    for service in &all {
        rows.add(row(service));
    }
    format::print(format, &Services { services: all, next: None }, &rows)
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
