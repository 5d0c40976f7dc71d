//! The same parameters for client programs, as `PG*` variables.
//!
//! Left out are `PGSERVICE` and `PGSERVICEFILE`, which are resolved already; `PGCLIENTENCODING`,
//! because archives are in the database's own encoding; and the probes of TCP connections
//! (`keepalives`, `tcp_user_timeout`), which have no variable and are ours only.

use std::collections::BTreeMap;
use std::path::Path;

use super::connect::default_socket_dir;
use super::keywords::{self, Parameters};
use super::settings::{Endpoint, Host, Settings, SslMode};

/// Keywords that go to client programs as they were written.
const AS_WRITTEN: [&str; 14] = [
    "channel_binding",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "requirepeer",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "target_session_attrs",
];

/// Makes the variables that mean these servers to libpq.
pub(super) fn variables(
    parameters: &Parameters,
    settings: &Settings,
    servers: &[Endpoint],
    password: Option<String>,
) -> BTreeMap<&'static str, String> {
    let mut variables: BTreeMap<&'static str, String> = keywords::variables()
        .filter(|(keyword, _)| AS_WRITTEN.contains(keyword))
        .filter_map(|(keyword, name)| parameters.get(keyword).map(|value| (name, value.to_owned())))
        .collect();
    let hosts: Vec<&str> = servers.iter().map(host).collect();
    let addresses: Vec<String> = servers.iter().map(address).collect();
    let ports: Vec<String> = servers.iter().map(|server| server.port.to_string()).collect();
    if hosts.iter().any(|host| !host.is_empty()) {
        variables.insert("PGHOST", hosts.join(","));
    }
    if addresses.iter().any(|address| !address.is_empty()) {
        variables.insert("PGHOSTADDR", addresses.join(","));
    }
    variables.insert("PGPORT", ports.join(","));
    variables.insert("PGDATABASE", settings.dbname.clone());
    variables.insert("PGUSER", settings.user.clone());
    variables.insert("PGAPPNAME", settings.application_name.clone());
    variables.insert("PGCONNECT_TIMEOUT", settings.timeout.as_secs().to_string());
    if let Some(password) = password {
        variables.insert("PGPASSWORD", password);
    }
    // Named in any case: the program's own home directory may not be the one that counts here.
    if let Some(path) = &settings.passfile {
        variables.insert("PGPASSFILE", text(path));
    }
    ssl(parameters, settings, &mut variables);
    variables
}

fn ssl(
    parameters: &Parameters,
    settings: &Settings,
    variables: &mut BTreeMap<&'static str, String>,
) {
    let ssl = &settings.ssl;
    variables.insert("PGSSLMODE", ssl.mode.word().to_owned());
    if ssl.mode == SslMode::Disable {
        return;
    }
    let files = [("PGSSLROOTCERT", &ssl.root), ("PGSSLCERT", &ssl.cert), ("PGSSLKEY", &ssl.key)];
    for (name, path) in files {
        if let Some(path) = path {
            variables.insert(name, text(path));
        }
    }
    match (parameters.get("sslcrl"), parameters.get("sslcrldir"), ssl.revoked.first()) {
        (None, None, Some(default)) => {
            variables.insert("PGSSLCRL", text(default));
        }
        (file, dir, _) => {
            variables.extend(file.map(|file| ("PGSSLCRL", file.to_owned())));
            variables.extend(dir.map(|dir| ("PGSSLCRLDIR", dir.to_owned())));
        }
    }
    if !ssl.sni {
        variables.insert("PGSSLSNI", "0".into());
    }
    if let Some(negotiation) = parameters.get("sslnegotiation") {
        variables.insert("PGSSLNEGOTIATION", negotiation.to_owned());
    }
}

fn host(server: &Endpoint) -> &str {
    match &server.host {
        Host::DefaultSocket => default_socket_dir(server.port),
        Host::Socket(dir) => dir,
        Host::Name(name, _) => name,
        Host::Address(_) => "",
    }
}

fn address(server: &Endpoint) -> String {
    match &server.host {
        Host::DefaultSocket | Host::Socket(_) | Host::Name(_, None) => String::new(),
        Host::Name(_, Some(address)) | Host::Address(address) => address.to_string(),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
