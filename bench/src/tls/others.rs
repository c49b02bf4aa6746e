//! What others use, each as its own documentation has it for speed.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};

use crate::contestant::{Entry, spawn};
use crate::place::Place;

type Started = (Vec<Child>, Entry);

/// One side of a pair: a program, its arguments, and its configuration, which comes last.
struct Side {
    program: &'static str,
    arguments: &'static [&'static str],
    config: String,
}

pub(crate) fn start(
    name: &str,
    place: &Place,
    port: u16,
) -> Result<Option<Started>, Box<dyn Error>> {
    let (client, server) = match name {
        "stunnel" => (stunnel_client(name, place, port), stunnel_server(place, port)),
        "haproxy" => (haproxy_client(place, port), haproxy_server(place, port)),
        "nginx" => (nginx_client(place, port), nginx_server(place, port)),
        _ => (stunnel_client(name, place, port), hitch(place, port)),
    };
    let is_there = |side: &Side| Path::new(side.program).exists();
    if !is_there(&client) || !is_there(&server) {
        return Ok(None);
    }
    if name == "nginx" && !Path::new(NGINX_STREAM).exists() {
        return Ok(None);
    }
    let entry = place.file(&entry_of(name));
    if entry.exists() {
        std::fs::remove_file(&entry)?;
    }
    let mut processes = Vec::new();
    for (side, file) in [(server, "server.conf"), (client, "client.conf")] {
        let file = place.file(&format!("{name}-{file}"));
        std::fs::write(&file, side.config)?;
        processes.push(spawn(Command::new(side.program).args(side.arguments).arg(file))?);
    }
    Ok(Some((processes, Entry::Path(entry))))
}

/// The way in to a contestant; several may run at the same time.
fn entry_of(name: &str) -> String {
    format!("{name}.sock")
}

fn show(place: &Place, name: &str) -> String {
    place.file(name).display().to_string()
}

const STUNNEL: &str = "/usr/bin/stunnel4";

fn stunnel_client(name: &str, place: &Place, port: u16) -> Side {
    let (entry, ca) = (show(place, &entry_of(name)), show(place, "ca.crt"));
    let config = format!(
        "foreground = yes\npid =\nsyslog = no\ndebug = 0\n[a]\nclient = yes\naccept = {entry}\n\
         connect = 127.0.0.1:{port}\nCAfile = {ca}\nverifyChain = yes\nsslVersionMin = TLSv1.3\n\
         ciphersuites = TLS_AES_128_GCM_SHA256\ncurves = X25519\n"
    );
    Side { program: STUNNEL, arguments: &[], config }
}

fn stunnel_server(place: &Place, port: u16) -> Side {
    let (service, pem) = (place.service().display().to_string(), show(place, "host.pem"));
    let config = format!(
        "foreground = yes\npid =\nsyslog = no\ndebug = 0\n[a]\naccept = 127.0.0.1:{port}\n\
         connect = {service}\ncert = {pem}\nsslVersionMin = TLSv1.3\n\
         ciphersuites = TLS_AES_128_GCM_SHA256\ncurves = X25519\n"
    );
    Side { program: STUNNEL, arguments: &[], config }
}

const HAPROXY: &str = "/usr/sbin/haproxy";

const HAPROXY_HEAD: &str = "global\n maxconn 8000\n nbthread 2\n\
     ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256\n\
     ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256\n\
     defaults\n mode tcp\n timeout connect 10s\n timeout client 300s\n timeout server 300s\n";

fn haproxy_client(place: &Place, port: u16) -> Side {
    let (entry, ca) = (show(place, &entry_of("haproxy")), show(place, "ca.crt"));
    let config = format!(
        "{HAPROXY_HEAD}listen a\n bind unix@{entry}\n \
         server s 127.0.0.1:{port} ssl verify required ca-file {ca} force-tlsv13\n"
    );
    Side { program: HAPROXY, arguments: &["-db", "-f"], config }
}

fn haproxy_server(place: &Place, port: u16) -> Side {
    let (service, pem) = (place.service().display().to_string(), show(place, "host.pem"));
    let config = format!(
        "{HAPROXY_HEAD}listen a\n bind 127.0.0.1:{port} ssl crt {pem} curves X25519 \
         ssl-min-ver TLSv1.3\n server s unix@{service}\n"
    );
    Side { program: HAPROXY, arguments: &["-db", "-f"], config }
}

const NGINX: &str = "/usr/sbin/nginx";
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn nginx_head(place: &Place, side: &str) -> String {
    let pid = show(place, side);
    format!(
        "load_module {NGINX_STREAM};\ndaemon off;\nuser root;\npid {pid}.pid;\nerror_log {pid}.log;\n\
         worker_processes 2;\nevents {{ worker_connections 8000; }}\n"
    )
}

fn nginx_client(place: &Place, port: u16) -> Side {
    let (entry, ca) = (show(place, &entry_of("nginx")), show(place, "ca.crt"));
    let config = format!(
        "{}stream {{ server {{ listen unix:{entry}; proxy_pass 127.0.0.1:{port}; proxy_ssl on;\n\
         proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name localhost;\n\
         proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;\n\
         proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; proxy_buffer_size 64k;\n proxy_half_close on; }} }}\n",
        nginx_head(place, "client")
    );
    Side { program: NGINX, arguments: &["-c"], config }
}

fn nginx_server(place: &Place, port: u16) -> Side {
    let service = place.service().display().to_string();
    let (chain, key) = (show(place, "host.crt"), show(place, "host.key"));
    let config = format!(
        "{}stream {{ server {{ listen 127.0.0.1:{port} ssl; proxy_pass unix:{service};\n\
         ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;\n\
         ssl_ecdh_curve X25519; ssl_session_cache shared:a:1m;\n\
         ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; proxy_buffer_size 64k;\n proxy_half_close on; }} }}\n",
        nginx_head(place, "server")
    );
    Side { program: NGINX, arguments: &["-c"], config }
}

fn hitch(place: &Place, port: u16) -> Side {
    let (service, pem) = (place.service().display().to_string(), show(place, "host.pem"));
    let config = format!(
        "frontend = \"[127.0.0.1]:{port}\"\nbackend = \"{service}\"\npem-file = \"{pem}\"\n\
         workers = 2\ndaemon = off\nquiet = on\nuser = \"root\"\ntls-protos = TLSv1.3\n\
         ciphersuites = \"TLS_AES_128_GCM_SHA256\"\n"
    );
    Side { program: "/usr/sbin/hitch", arguments: &["--config"], config }
}
