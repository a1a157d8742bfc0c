//! The page itself.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("web/page.html");
const STYLE: &str = include_str!("web/style.css");

/// Each is a script of its own; later ones use what earlier ones declare.
const SCRIPTS: [&str; 8] = [
    include_str!("web/data.js"),
    include_str!("web/counts.js"),
    include_str!("web/format.js"),
    include_str!("web/flame.js"),
    include_str!("web/timeline.js"),
    include_str!("web/table.js"),
    include_str!("web/code.js"),
    include_str!("web/app.js"),
];

/// The page of these data, or one that asks for them where it is from. All that the page shows is in them, in base64, which nothing in a name can
/// end; its scripts and styles are the only ones that the browser takes.
///
/// # Errors
///
/// None that data can cause.
pub(super) fn page(blob: Option<&[u8]>) -> Result<String> {
    let script = format!("'use strict';\n{}", SCRIPTS.concat());
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src {}; base-uri 'none'; form-action 'none'",
        hash(&script),
        hash(STYLE),
        if blob.is_some() { "'none'" } else { "'self'" }
    );
    Ok(fill(&[
        ("policy", &policy),
        ("style", STYLE),
        ("script", &script),
        (
            "data",
            &blob.map_or(String::new(), |blob| BASE64.encode(blob)),
        ),
    ]))
}

fn hash(text: &str) -> String {
    BASE64.encode(Sha256::digest(text))
}

/// Puts texts in where the page has their names in double braces.
fn fill(texts: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = PAGE;
    while let Some((before, behind)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        let text = texts.iter().find(|text| text.0 == name);
        page.push_str(text.map_or("", |text| text.1));
        rest = behind;
    }
    page + rest
}
