//! PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Running, Service, folder, free_port, spawn, wait_until};
use crate::tools::{Tool, is_root};
use crate::{Outcome, command};

/// A PostgreSQL server with an empty database `postgres`. Its URL is in `DHARA_TEST_POSTGRES`, and
/// the file of the certificate that it shows in `DHARA_TEST_POSTGRES_CERTIFICATE`.
pub(crate) const POSTGRES: Service = Service { bring, start };

/// Debian's package of the server; its programs stand beside those of other versions.
const TOOL: Tool = Tool { programs: &["pg_ctlcluster", "postgres"], package: "postgresql" };
/// The server refuses to run as root; the package brings this user.
const USER: &str = "postgres";
/// Makes the server's certificate.
const OPENSSL: Tool = Tool { programs: &["openssl"], package: "openssl" };
const START_LIMIT: Duration = Duration::from_secs(60);

fn bring() -> Outcome {
    OPENSSL.bring()?;
    if programs().is_some() {
        return Ok(());
    }
    TOOL.bring()?;
    programs().map(|_| ()).ok_or_else(|| {
        "initdb and postgres are neither in PATH nor below /usr/lib/postgresql: install the \
         package `postgresql`"
            .to_owned()
    })
}

/// The folder with the programs of the newest version that is there.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    folders.sort();
    let in_path = || command::find(&["initdb"])?.parent().map(Path::to_owned);
    folders.pop().map(|(_, folder)| folder).or_else(in_path)
}

const SETTINGS: [&str; 4] =
    ["listen_addresses=127.0.0.1", "max_connections=200", "wal_level=logical", "ssl=on"];

fn start() -> Outcome<Running> {
    let programs = programs().ok_or("PostgreSQL is not there")?;
    let folder = folder("postgres")?;
    let (data, log) = (folder.join("data"), folder.join("log"));
    if is_root() {
        command::read(Command::new("chown").arg(USER).arg(&folder))?;
    }
    let mut make = as_user(&programs.join("initdb"));
    make.current_dir(&folder).arg("-D").arg(&data);
    make.args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
    // Its files are synced when the first test commits, and a run that is cut off is thrown away.
    command::read(make.arg("--no-sync"))?;
    let certificate = certificate(&folder)?;
    let port = free_port()?;
    let mut serve = as_user(&programs.join("postgres"));
    serve.current_dir(&folder).arg("-D").arg(&data).arg("-k").arg(&folder);
    serve.args(["-p", &port.to_string()]);
    for setting in SETTINGS {
        serve.args(["-c", setting]);
    }
    for (setting, file) in [("ssl_cert_file", &certificate), ("ssl_key_file", &folder.join("key"))]
    {
        serve.arg("-c").arg(format!("{setting}={}", file.display()));
    }
    let process = spawn(&mut serve, &log)?;
    let told = vec![
        ("DHARA_TEST_POSTGRES", format!("postgres://{USER}@127.0.0.1:{port}/postgres")),
        ("DHARA_TEST_POSTGRES_CERTIFICATE", certificate.display().to_string()),
    ];
    // At SIGINT it ends its sessions, writes a checkpoint, and goes.
    let mut running = Running { told, process, signal: "-INT", folder };
    let ready = || {
        let mut ask = Command::new(programs.join("pg_isready"));
        command::read(ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])).is_ok()
    };
    wait_until(&mut running, &log, START_LIMIT, ready)?;
    Ok(running)
}

/// Makes a certificate of 127.0.0.1 that nobody vouches for, and its key beside it.
fn certificate(folder: &Path) -> Outcome<PathBuf> {
    let file = folder.join("certificate");
    let mut make = as_user(Path::new("openssl"));
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    make.args(["-nodes", "-days", "30", "-subj", "/CN=localhost"]);
    make.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    make.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    make.arg("-keyout").arg(folder.join("key")).arg("-out").arg(&file);
    command::read(&mut make)?;
    Ok(file)
}

/// `program`, run by a user who may run it, and stopped with this process however that ends.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program);
    command
}
