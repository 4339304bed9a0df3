//! What the shop is started with: flags, each of them also an environment variable.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use lexopt::prelude::*;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Serve(Config),
    /// The stand-in bank, which the shop starts for itself.
    Bank(PathBuf),
    /// Text for the standard output.
    Print(String),
}

/// How the shop is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) broker: String,
    pub(crate) store: String,
    pub(crate) smtp: Option<String>,
}

const OPTIONS: [(&str, &str, &str); 5] = [
    ("listen", "ADDR", "where to serve HTTP [default: 127.0.0.1:8080]"),
    ("data", "DIR", "the folder of everything that is kept [default: shop-data]"),
    ("broker", "URL", "what moves events: mem: or file:DIR [default: file:DATA/log]"),
    (
        "store",
        "URL",
        "what keeps the services' data: sqlite:DIR, postgres://... [default: sqlite:DATA/store]",
    ),
    ("smtp", "URL", "a mail server: smtp:// or smtps:// [default: files in DATA/mail]"),
];

/// Reads the command line and the environment.
///
/// # Errors
///
/// One line that says what is wrong with which flag.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let mut values: [Option<OsString>; OPTIONS.len()] =
        OPTIONS.map(|(name, ..)| environment(&variable_of(name)));
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut bank = false;
    while let Some(argument) = parser.next().map_err(explain)? {
        let name = match argument {
            Short('h') | Long("help") => return Ok(Command::Print(help())),
            Short('V') | Long("version") => {
                return Ok(Command::Print(concat!("shop ", env!("CARGO_PKG_VERSION")).to_owned()));
            }
            Value(word) if word == "bank" && !bank => {
                bank = true;
                continue;
            }
            Long(name) => name.to_owned(),
            other => return Err(explain(other.unexpected())),
        };
        let slot = OPTIONS.iter().zip(&mut values).find(|((option, ..), _)| *option == name);
        let Some((_, slot)) = slot else {
            return Err(explain(Long(&name).unexpected()));
        };
        *slot = Some(parser.value().map_err(explain)?);
    }
    let [listen, data, broker, store, smtp] = values;
    let data = PathBuf::from(data.unwrap_or_else(|| "shop-data".into()));
    if bank {
        return Ok(Command::Bank(data));
    }
    let listen = text("listen", listen)?.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listen = listen
        .parse()
        .map_err(|_| format!("--listen {listen:?} is no address; write it as in 127.0.0.1:8080"))?;
    let below = |scheme: &str, name: &str| format!("{scheme}:{}", data.join(name).display());
    Ok(Command::Serve(Config {
        listen,
        broker: text("broker", broker)?.unwrap_or_else(|| below("file", "log")),
        store: text("store", store)?.unwrap_or_else(|| below("sqlite", "store")),
        smtp: text("smtp", smtp)?.filter(|url| !url.is_empty()),
        data,
    }))
}

fn variable_of(option: &str) -> String {
    format!("SHOP_{}", option.to_uppercase())
}

fn text(name: &str, value: Option<OsString>) -> Result<Option<String>, String> {
    let Some(value) = value else { return Ok(None) };
    let text = value.into_string();
    text.map(Some).map_err(|value| format!("--{name} {} is not UTF-8", value.display()))
}

fn explain(error: lexopt::Error) -> String {
    format!("{error}; `shop --help` lists all options")
}

fn help() -> String {
    let mut text = String::from(
        "The reference shop: five services on an embedded durable log.\n\n\
         Usage: shop [OPTIONS]\n\nOptions (each also an environment variable):\n",
    );
    for (name, value, what) in OPTIONS {
        let (option, variable) = (format!("--{name} {value}"), variable_of(name));
        text.push_str(&format!("  {option:<14} {variable:<12} {what}\n"));
    }
    text.push_str("  --help                      shows this\n");
    text.push_str("  --version                   shows the version\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &str, variables: &[(&str, &str)]) -> Result<Command, String> {
        read(words.split_whitespace().map(OsString::from), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    fn config(words: &str, variables: &[(&str, &str)]) -> Config {
        match read_words(words, variables).unwrap() {
            Command::Serve(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_goes_before_its_variable_and_that_before_the_default() {
        let default = config("", &[]);
        assert_eq!(default.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((default.broker.as_str(), default.smtp), ("file:shop-data/log", None));
        let variables = [("SHOP_LISTEN", "127.0.0.1:9000"), ("SHOP_DATA", "d")];
        let mixed = config("--listen=127.0.0.1:9001 --broker mem:", &variables);
        assert_eq!(mixed.listen.port(), 9001);
        assert_eq!((mixed.broker.as_str(), mixed.store.as_str()), ("mem:", "sqlite:d/store"));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line_that_names_it() {
        for (words, named) in [
            ("--lisen x", "--lisen"),
            ("--listen here", "\"here\""),
            ("--data", "--data"),
            ("bank bank", "bank"),
            ("-x", "-x"),
            ("stray", "stray"),
        ] {
            let error = read_words(words, &[]).unwrap_err();
            assert!(error.contains(named) && error.lines().count() == 1, "{words}: {error}");
        }
    }

    #[test]
    fn help_has_a_line_for_each_option() {
        let Command::Print(help) = read_words("--help", &[]).unwrap() else { panic!("no help") };
        for (name, ..) in OPTIONS {
            let lines = help.lines().filter(|line| line.contains(&format!("--{name} ")));
            assert_eq!(lines.count(), 1, "{name}");
        }
    }
}
