//! `amanat request`: people's requests at the command line, by the operator's word.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;
use crate::domain::subject_request::RequestKind;
use crate::gateway::Gateway;
use crate::gateway::subject_request::{Asked, AskedIdentifier, Case, Opener, StoredRequest};

use super::in_force::open;
use super::output::{columns, print, print_json};
use super::{Context, Failure};

/// Opens and shows people's requests.
#[derive(Args)]
pub(super) struct RequestArguments {
    #[command(subcommand)]
    command: RequestCommand,
}

#[derive(Subcommand)]
enum RequestCommand {
    /// Opens a request for a person and carries it out. An erasure asked together with access waits
    /// until the package was fetched.
    Open {
        /// The right: access or erasure; both may be named.
        #[arg(long = "kind", required = true, value_name = "KIND")]
        kinds: Vec<String>,
        /// By what the person can be found: `email=anna@example.org`, `user_id=17`,
        /// `social:instagram=anna`.
        #[arg(long = "identifier", required = true, value_name = "KIND=VALUE")]
        identifiers: Vec<String>,
        /// BCP 47 tag of the language to answer in.
        #[arg(long)]
        language: Option<String>,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Lists the newest requests; never who asked.
    List {
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u16,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Shows a case with its tasks.
    Show {
        /// The reference, `AM-…`.
        reference: String,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Hands over the package of an access request.
    Package {
        /// The reference, `AM-…`.
        reference: String,
        /// Where to write it; standard output if nothing is named.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Hands over the receipt of an erasure. An hour after the first time nobody here has it.
    Receipt {
        /// The reference, `AM-…`.
        reference: String,
        /// Where to write it; standard output if nothing is named.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Runs the command.
pub(super) async fn run(arguments: RequestArguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let house = open(context, &loaded).await?;
    let done = match arguments.command {
        RequestCommand::Open { kinds, identifiers, language, json } => {
            open_case(&house, &kinds, &identifiers, language, json).await
        }
        RequestCommand::List { limit, json } => list(&house, limit, json).await,
        RequestCommand::Show { reference, json } => show(&house, &reference, json).await,
        RequestCommand::Package { reference, out } => package(&house, &reference, out.as_deref()).await,
        RequestCommand::Receipt { reference, out } => receipt(&house, &reference, out.as_deref()).await,
    };
    house.close();
    done.map(|()| 0)
}

async fn open_case(
    house: &Gateway,
    kinds: &[String],
    identifiers: &[String],
    language: Option<String>,
    as_json: bool,
) -> Result<(), Failure> {
    let asked = Asked {
        kinds: kinds.iter().map(|text| kind(text)).collect::<Result<_, _>>()?,
        identifiers: identifiers.iter().map(|text| identifier(text)).collect::<Result<_, _>>()?,
        language,
        message: None,
    };
    let case = house.open_case(asked, Opener::Operator).await?;
    house.carry_out_case(case.case.id).await?;
    show(house, &case.case.reference, as_json).await
}

async fn list(house: &Gateway, limit: u16, as_json: bool) -> Result<(), Failure> {
    let found = house.newest_requests(i64::from(limit)).await?;
    if as_json {
        return print_json(&Value::Array(
            found.iter().map(|(case, request)| summary(&case.reference, request)).collect(),
        ));
    }
    let mut rows = vec![["REFERENCE", "KIND", "STATE", "OUTCOME", "DUE"].map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|(case, request)| {
        vec![
            case.reference.clone(),
            request.kind.as_str().to_owned(),
            request.state.as_str().to_owned(),
            request.outcome.map_or("-", |outcome| outcome.as_str()).to_owned(),
            request.statutory_due.to_string(),
        ]
    }));
    print(&columns(&rows))
}

async fn show(house: &Gateway, reference: &str, as_json: bool) -> Result<(), Failure> {
    let case = known(house, reference).await?;
    let mut documents = Vec::with_capacity(case.requests.len());
    let mut rows = Vec::new();
    for request in &case.requests {
        let tasks = house.tasks(request.id).await?;
        let mut document = summary(&case.case.reference, request);
        if let Value::Object(members) = &mut document {
            let tasks = tasks.iter().map(|task| {
                json!({ "target": task.target.spelling(), "verb": task.verb, "outcome": task.outcome.as_str(), "terminal": task.outcome.is_terminal() })
            });
            members.insert("tasks".to_owned(), tasks.collect());
        }
        documents.push(document);
        let outcome = request.outcome.map_or(String::new(), |outcome| format!(", {}", outcome.as_str()));
        rows.push(vec![
            request.kind.as_str().to_owned(),
            format!("{}{outcome}, due {}", request.state.as_str(), request.statutory_due),
        ]);
        rows.extend(tasks.iter().map(|task| {
            let open = if task.outcome.is_terminal() { "" } else { " (open)" };
            vec![format!("  {}", task.target.spelling()), format!("{}: {}{open}", task.verb, task.outcome.as_str())]
        }));
    }
    if as_json {
        return print_json(
            &json!({ "reference": case.case.reference, "received_on": case.case.trigger_day.to_string(), "requests": documents }),
        );
    }
    print(&format!("{}, received {}\n{}", case.case.reference, case.case.trigger_day, columns(&rows)))
}

async fn package(house: &Gateway, reference: &str, out: Option<&Path>) -> Result<(), Failure> {
    let request = of_kind(house, reference, RequestKind::Access).await?;
    let text = match house.fetch_package(request.id, Opener::Operator).await {
        Err(crate::gateway::Error::NotFound) => return Err(Failure::new("the package is over; open a new request")),
        other => other?,
    };
    write(out, &text)?;
    // What waited for the package goes on now, before this process ends.
    Ok(house.carry_out_case(request.case).await?)
}

async fn receipt(house: &Gateway, reference: &str, out: Option<&Path>) -> Result<(), Failure> {
    let request = of_kind(house, reference, RequestKind::Erasure).await?;
    // No gateway may be running that would publish the checkpoint.
    house.publish_once().await?;
    match house.erasure_receipt(request.id).await {
        Err(crate::gateway::Error::NotFound) => Err(Failure::new(
            "there is no receipt: nothing was erased, or it was handed out and the gateway keeps none",
        )),
        other => write(out, other?.as_bytes()),
    }
}

async fn known(house: &Gateway, reference: &str) -> Result<Case, Failure> {
    house.case(reference).await.map_err(|error| match error {
        crate::gateway::Error::NotFound => {
            Failure::new(format!("there is no case {reference}; see `amanat request list`"))
        }
        other => other.into(),
    })
}

async fn of_kind(house: &Gateway, reference: &str, kind: RequestKind) -> Result<StoredRequest, Failure> {
    known(house, reference)
        .await?
        .requests
        .into_iter()
        .find(|request| request.kind == kind)
        .ok_or_else(|| Failure::new(format!("{reference} does not ask for {}", kind.as_str())))
}

fn summary(reference: &str, request: &StoredRequest) -> Value {
    json!({
        "reference": reference,
        "id": request.id.to_string(),
        "kind": request.kind.as_str(),
        "state": request.state.as_str(),
        "outcome": request.outcome.map(|outcome| outcome.as_str()),
        "due": request.statutory_due.to_string(),
    })
}

fn kind(text: &str) -> Result<RequestKind, Failure> {
    RequestKind::parse(text).ok_or_else(|| Failure::with_exit(2, format!("--kind {text}: known are access, erasure")))
}

/// `KIND=VALUE` or `KIND:NAMESPACE=VALUE`. Errors never repeat the value.
fn identifier(text: &str) -> Result<AskedIdentifier, Failure> {
    let wrong = || Failure::with_exit(2, "--identifier: write KIND=VALUE, such as email=anna@example.org");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let (kind, namespace) = match (IdentifierKind::parse(name), name.split_once(':')) {
        (Some(kind), _) => (kind, ""),
        (None, Some((kind, namespace))) => (IdentifierKind::parse(kind).ok_or_else(wrong)?, namespace),
        (None, None) => return Err(wrong()),
    };
    Ok(AskedIdentifier { kind, namespace: namespace.to_owned(), text: Personal::new(value.to_owned()) })
}

/// Writes to a new file that only its owner may read, or to standard output.
fn write(out: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    let Some(path) = out else {
        let text = std::str::from_utf8(bytes).map_err(|_| Failure::new("what was handed over is not UTF-8"))?;
        return print(text);
    };
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be written: {error}", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}
