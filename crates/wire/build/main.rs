//! Writes the Rust of all messages from their descriptions in `schema/`.

mod api;
mod decode;
mod encode;
#[expect(unreachable_pub, reason = "the tests read the schema with this module too")]
mod schema;
mod structs;

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use schema::Schema;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=build");
    let schemas = read(&Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("schema"))?;
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("messages.rs"), structs::modules(&schemas)?)?;
    fs::write(out.join("api.rs"), api::table(&schemas))?;
    Ok(())
}

/// All schemas of `folder`: by their numbers, and then what has none by name.
fn read(folder: &Path) -> Result<Vec<Schema>, Box<dyn Error>> {
    let mut schemas = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "msg") {
            let schema = Schema::parse(&fs::read_to_string(&path)?)
                .map_err(|wrong| format!("{}: {wrong}", path.display()))?;
            schemas.push(schema);
        }
    }
    schemas.sort_by_key(|schema| (schema.key.unwrap_or(i16::MAX), schema.name.clone()));
    Ok(schemas)
}

/// `ListOffsets` from `list_offsets`.
fn camel(name: &str) -> String {
    name.split('_').map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
