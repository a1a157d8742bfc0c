//! What the loader is given beside the kernel.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::machine::HEADING;
use crate::qemu::Module;

/// What the loader is given beside the kernel.
#[derive(Args, Clone, Debug, Default)]
pub struct LoadArgs {
    /// Move the kernel, which has to be position-independent, to where this seed says: the
    /// same seed gives the same place [default: 1]
    #[arg(long, help_heading = HEADING, value_name = "SEED", num_args = 0..=1,
          require_equals = true, default_missing_value = "1")]
    pub kaslr: Option<u64>,

    /// Load this file as a module, with a command line if one is given behind a comma (a
    /// comma of the name is written twice); can be said several times
    #[arg(long, help_heading = HEADING, value_name = "FILE[,COMMAND LINE]",
          value_parser = OsStringValueParser::new().try_map(module))]
    pub module: Vec<Module>,
}

fn module(text: OsString) -> Result<Module, String> {
    let mut bytes = text.as_bytes().iter().copied().peekable();
    let mut file = Vec::new();
    while let Some(byte) = bytes.next() {
        // Written twice it is part of the name.
        if byte == b',' && bytes.next_if_eq(&b',').is_none() {
            break;
        }
        file.push(byte);
    }
    if file.is_empty() {
        return Err("must be FILE or FILE,COMMAND LINE".into());
    }
    let line: Vec<u8> = bytes.collect();
    Ok(Module {
        file: OsString::from_vec(file).into(),
        command_line: String::from_utf8_lossy(&line).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comma_ends_the_file() {
        for (text, file, line) in [
            ("a/b.img", "a/b.img", ""),
            ("b.img,", "b.img", ""),
            ("b.img,root=x,y z", "b.img", "root=x,y z"),
            ("a,,b:c.img,x,,y", "a,b:c.img", "x,,y"),
            (",,", ",", ""),
        ] {
            let expected = Module {
                file: file.into(),
                command_line: line.into(),
            };
            assert_eq!(module(text.into()), Ok(expected), "{text}");
        }
        assert!(module("".into()).is_err());
        assert!(module(",x".into()).is_err());
    }
}
