//! Writes the inputs to begin with into a folder for each target: `seeds FOLDER`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use dhara_log::fuzzing::Target;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("the folder is missing")?);
    for target in Target::ALL {
        let of_target = folder.join(target.name());
        fs::create_dir_all(&of_target)?;
        for (number, seed) in target.seeds().into_iter().enumerate() {
            fs::write(of_target.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
