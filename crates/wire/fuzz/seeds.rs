//! Writes the inputs to begin with into a folder for each target: `seeds FOLDER`.
//!
//! They are the messages that Kafka's own classes wrote for the tests.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use dhara_wire::Api;

const MESSAGES: &str = include_str!("../tests/fixtures/kafka-4.1.0.txt");

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("the folder is missing")?);
    for target in ["request", "response", "stream"] {
        fs::create_dir_all(folder.join(target))?;
    }
    for (number, line) in MESSAGES.lines().enumerate() {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let key: i16 = words.next().unwrap_or_default().parse()?;
        let version: i16 = words.next().unwrap_or_default().parse()?;
        let body = from_hex(words.next().unwrap_or_default())?;
        let api = Api::from_key(key).ok_or("an API that is not known")?;
        let name = format!("seed-{number}");
        if kind == "request" {
            let frame = request(api, version, &body);
            fs::write(folder.join("request").join(&name), &frame)?;
            let length = u32::try_from(frame.len())?.to_be_bytes();
            fs::write(folder.join("stream").join(&name), [&length[..], &frame].concat())?;
        } else {
            let flexible = api.is_flexible(version) && api != Api::ApiVersions;
            let tags: &[u8] = if flexible { &[0] } else { &[] };
            let head = [u8::try_from(key)?, u8::try_from(version)?, 0, 0, 0, 7];
            let frame = [&head[..], tags, &body].concat();
            fs::write(folder.join("response").join(&name), frame)?;
        }
    }
    Ok(())
}

/// The body behind the header of a client without a name.
fn request(api: Api, version: i16, body: &[u8]) -> Vec<u8> {
    let head = [api.key().to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0xff, 0xff]];
    let tags: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
    [head.as_flattened(), tags, body].concat()
}

fn from_hex(hex: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let places = (0..hex.len()).step_by(2);
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    places.map(|at| byte(at).ok_or_else(|| "the fixture is damaged".into())).collect()
}
