//! What an operator may write, and what they are told.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::*;

fn no_file(_: &Path) -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn load_from(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Error> {
    load_reading(file, environment, flags, &no_file)
}

fn load_reading(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Error> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    load(&Sources {
        file: Some(("amanat.toml", file)),
        environment: environment.iter().map(owned).collect(),
        flags: flags.iter().map(owned).collect::<BTreeMap<_, _>>(),
        read_file,
    })
}

fn mistakes(result: Result<Loaded, Error>) -> Vec<String> {
    match result {
        Ok(_) => panic!("the configuration was accepted"),
        Err(Error::Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn nothing_is_needed_to_start() {
    let loaded = load_from("", &[], &[]).map_err(|error| error.to_string()).unwrap();
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url(), "http://127.0.0.1:8080");
    assert_eq!(config.storage.database.reveal(), "sqlite:data/amanat.db");
    assert_eq!(config.storage.database.sqlite_path(), Some(Path::new("data/amanat.db")));
    assert_eq!(config.storage.batch_units.get(), 256);
    assert_eq!(config.keys.epoch_days, 7);
    assert_eq!(config.limits.body_received.get(), 4 << 20);
    assert_eq!(config.delivery.time_limit, Duration::from_secs(10));
    assert!(config.keys.managed && config.recipients.is_empty());
}

#[test]
fn the_later_source_wins() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 2\n[delivery]\ntime_limit = \"5s\"\n";
    let environment = [("AMANAT__SERVER__LISTEN", "127.0.0.1:2"), ("AMANAT__DELIVERY__TIME_LIMIT", "6s")];
    let loaded =
        load_from(file, &environment, &[("server.listen", "127.0.0.1:3")]).map_err(|error| error.to_string()).unwrap();
    assert_eq!(loaded.config.server.listen.port(), 3);
    assert_eq!(loaded.config.server.workers.unwrap().get(), 2);
    assert_eq!(loaded.config.delivery.time_limit, Duration::from_secs(6));
    let source = |option: &str| loaded.values.iter().find(|shown| shown.option == option).unwrap().source.to_string();
    assert_eq!(source("listen"), "command line (server.listen)");
    assert_eq!(source("time_limit"), "environment AMANAT__DELIVERY__TIME_LIMIT");
    assert_eq!(source("workers"), "amanat.toml:3");
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let file = "[server]\nlisten = \"nowhere\"\nworkers = \"2\"\nlisten_on = 1\n[limits]\nevent_depth = 0\n[delivery]\nlease = \"x\"\n";
    let told = mistakes(load_from(file, &[("AMANAT__LOG__FORMAT", "xml"), ("AMANAT__NO__SUCH", "1")], &[]));
    assert_eq!(
        told,
        [
            "amanat.toml:2: server.listen: must be an address and a port, \"127.0.0.1:8080\"",
            "amanat.toml:3: server.workers: must be written as a number, without quotes: a whole number, at least 1",
            "amanat.toml:4: server.listen_on: there is no such option; `server.listen` is the nearest",
            "amanat.toml:6: limits.event_depth: must be a whole number, at least 1",
            "amanat.toml:8: delivery.lease: must be a length of time, \"250ms\", \"10s\", \"5m\", \"1h\" or \"7d\"",
            "environment AMANAT__LOG__FORMAT: log.format: must be \"text\" or \"json\"",
            "environment AMANAT__NO__SUCH: no.such: there is no such option; `amanat config` lists them",
        ]
    );
}

#[test]
fn text_that_is_not_toml_is_told_by_line() {
    let told = mistakes(load_from("[server]\nlisten = \n", &[], &[]));
    assert!(told.iter().all(|line| line.starts_with("amanat.toml:2: not TOML: ")), "{told:?}");
}

#[test]
fn a_secret_in_the_file_is_refused_with_the_place_to_put_it() {
    let file = "[metrics]\ntoken = \"hunter2\"\n[storage]\ndatabase = \"postgres://a:hunter2@h/d\"\n[keys]\nroot = \"1:hunter2\"\n";
    let told = mistakes(load_from(file, &[("AMANAT__METRICS__TOKEN", "better")], &[])).join("\n");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.contains("amanat.toml:2: metrics.token: a secret does not belong here; put it into a file of its own and name that as `metrics.token_file`, or into the environment as AMANAT__METRICS__TOKEN"));
    assert!(told.contains("AMANAT__STORAGE__DATABASE"));
    assert!(
        told.contains("keys.root: a secret does not belong here; put it into the environment as AMANAT__KEYS__ROOT")
    );
    let told = mistakes(load_from("", &[], &[("metrics.token", "hunter2")])).join("\n");
    assert!(told.starts_with("command line (metrics.token)"), "{told}");
}

#[test]
fn a_secret_comes_from_its_file_or_the_environment() {
    let read = |path: &Path| match path.to_str() {
        Some("/run/token") => Ok("from file\n".to_owned()),
        _ => no_file(path),
    };
    let file = "[metrics]\ntoken_file = \"/run/token\"\n";
    let loaded = load_reading(file, &[], &[], &read).map_err(|error| error.to_string()).unwrap();
    assert_eq!(loaded.config.metrics.token.unwrap().reveal(), "from file");
    let page = print_reference(&loaded.values);
    assert!(!page.contains("from file\n") && page.contains("# token: (set)"));

    let stronger = load_reading(file, &[("AMANAT__METRICS__TOKEN", "variable")], &[], &read);
    assert_eq!(stronger.map_err(|error| error.to_string()).unwrap().config.metrics.token.unwrap().reveal(), "variable");

    let told = mistakes(load_from("[metrics]\ntoken_file = \"/none\"\n", &[], &[]));
    assert_eq!(told, ["amanat.toml:2: metrics.token_file: cannot read the file it names: entity not found"]);
}

#[test]
fn a_recipient_is_named_by_its_id_and_checked_as_a_whole() {
    let file = "[recipients.helpdesk-us]\nkind = \"webhook\"\nurl = \"https://h.example/in\"\n[recipients.lake]\nkind = \"file\"\n";
    let secret = [("AMANAT__RECIPIENTS__HELPDESK_US__SECRET", "whsec_x")];
    let loaded = load_from(file, &secret, &[]).map_err(|error| error.to_string()).unwrap();
    assert_eq!(loaded.config.recipients.len(), 2);
    let helpdesk = loaded.config.recipients.get("helpdesk-us").unwrap();
    assert_eq!(helpdesk.secret.as_ref().unwrap().reveal(), "whsec_x");

    let told = mistakes(load_from(
        "[recipients.a]\nkind = \"webhook\"\nurl = \"http://h.example\"\n[recipients.b]\nurl = \"ftp://x\"\n",
        &[],
        &[],
    ));
    assert_eq!(told.len(), 2, "{told:?}");
    let told = mistakes(load_from("[recipients.a]\nkind = \"webhook\"\nurl = \"http://h.example\"\n", &[], &[]));
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn what_only_the_whole_shows_is_told() {
    let file = "[keys]\ndatabase = \"sqlite:data/amanat.db\"\nsource = \"environment\"\n[delivery]\nlease = \"10s\"\n[audit]\ncheckpoint_every = \"61s\"\n[journal]\nplaces = []\n";
    let told = mistakes(load_from(file, &[], &[]));
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.iter().all(|line| line.starts_with("amanat.toml:")), "{told:?}");
}

#[test]
fn the_printed_reference_is_the_configuration_it_describes() {
    let defaults = load_from("", &[], &[]).map_err(|error| error.to_string()).unwrap();
    let page = print_reference(&defaults.values);
    let again = load_from(&page, &[], &[]).map_err(|error| error.to_string()).unwrap();
    let values = |loaded: &Loaded| {
        loaded.values.iter().map(|shown| (shown.section.clone(), shown.option, shown.value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(values(&defaults), values(&again));
    assert!(defaults.values.iter().all(|shown| !shown.text.trim().is_empty()));
}

#[test]
fn a_range_holds_its_addresses() {
    let loaded = load_from("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\", \"0.0.0.0/0\"]\n", &[], &[]);
    let proxies = loaded.map_err(|error| error.to_string()).unwrap().config.server.trusted_proxies;
    let holds = |network: &Network, address: &str| network.contains(address.parse::<IpAddr>().unwrap());
    assert!(
        holds(&proxies[0], "10.255.0.1") && holds(&proxies[0], "::ffff:10.0.0.1") && !holds(&proxies[0], "11.0.0.1")
    );
    assert!(holds(&proxies[1], "::1") && !holds(&proxies[1], "::2") && !holds(&proxies[1], "0.0.0.1"));
    assert!(holds(&proxies[2], "203.0.113.9"));
}

#[test]
fn an_authority_that_dates_the_log_has_a_name_an_address_and_roots() {
    let file = "[anchors.one]\nurl = \"http://tsa.example/tsr\"\nroots = \"one.pem\"\n";
    let variable = [("AMANAT__ANCHORS__ONE__ROOTS", "other.pem")];
    let loaded = load_from(file, &variable, &[]).map_err(|error| error.to_string()).unwrap();
    let anchor = loaded.config.anchors.get("one").unwrap();
    assert_eq!((anchor.url.as_str(), anchor.roots.to_str()), ("http://tsa.example/tsr", Some("other.pem")));
    assert!(print_reference(&loaded.values).contains("\n[anchors.one]\n"));
    let told = mistakes(load_from("[anchors.one]\nurl = \"tsa.example\"\n", &[], &[]));
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn the_reference_holds_every_section_even_without_a_recipient() {
    let page = print_reference(&load_from("", &[], &[]).map_err(|error| error.to_string()).unwrap().values);
    assert!(page.contains("# [recipients.<id>]") && page.contains("# secret: not set"));
    assert!(page.contains("# [anchors.<name>]") && page.contains("# roots: not set"));
    for section in ["server", "storage", "keys", "audit", "journal", "policy", "limits", "delivery", "metrics", "log"] {
        assert!(page.contains(&format!("\n[{section}]\n")), "{section}");
    }
}

#[test]
fn a_database_is_shown_without_its_password() {
    let address = [("AMANAT__STORAGE__DATABASE", "postgres://amanat:hunter2@db.example/shop")];
    let loaded = load_from("", &address, &[]).map_err(|error| error.to_string()).unwrap();
    assert_eq!(loaded.config.storage.database.to_string(), "postgres://db.example/shop");
    assert_eq!(loaded.config.storage.database.backend(), Backend::Postgres);
    assert!(!print_reference(&loaded.values).contains("hunter2"));
}
