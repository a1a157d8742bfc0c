//! What the documents show is so: code in them is that of files that are compiled, and links
//! lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

/// Languages whose blocks are quotations.
const QUOTED: [&str; 5] = ["rust", "c", "ld", "toml", "asm"];

/// What stands between two pieces of a quotation.
const CUT: &str = "…";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The documents that people read, by their paths from the root.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<_> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "tools/adopters/README.md",
    ]
    .map(PathBuf::from)
    .into();
    for entry in fs::read_dir(root().join("docs")).expect("a folder") {
        let name = entry.expect("a file").file_name();
        if Path::new(&name).extension().is_some_and(|it| it == "md") {
            found.push(Path::new("docs").join(name));
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A block of code.
struct Block {
    /// Where its fence opens, from 1.
    line: usize,
    language: String,
    /// The file that the comment above it names.
    source: Option<PathBuf>,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (line, text) in (1..).zip(text.lines()) {
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(language)) => {
                let source = above
                    .strip_prefix("<!-- ")
                    .and_then(|it| it.strip_suffix(" -->"));
                open = Some(Block {
                    line,
                    language: language.to_owned(),
                    source: source.map(PathBuf::from),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.lines.push(text.to_owned()),
            (None, None) => {}
        }
        above = text;
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Checks that each piece of the block stands in the file, in a row and in this order.
fn check_quotation(block: &Block, file: &str) -> Result<(), String> {
    let mut rest: Vec<&str> = file.lines().collect();
    for piece in block.lines.split(|line| line == CUT) {
        let is_here = |lines: &[&str]| lines.iter().eq(piece.iter());
        let place = rest.windows(piece.len()).position(is_here);
        let Some(place) = place else {
            return Err(format!(
                "not there, or before what is quoted first:\n{}",
                piece.join("\n")
            ));
        };
        rest.drain(..place + piece.len());
    }
    Ok(())
}

#[test]
fn code_in_documents_is_that_of_files_that_are_compiled() {
    let mut quotations = 0;
    for document in documents() {
        for block in blocks(&read(&document)) {
            let place = format!("{}:{}", document.display(), block.line);
            if !QUOTED.contains(&block.language.as_str()) {
                assert!(
                    ["", "json"].contains(&block.language.as_str()),
                    "{place}: {}: quote it",
                    block.language
                );
                continue;
            }
            let source = block.source.as_ref();
            let source = source
                .unwrap_or_else(|| panic!("{place}: no comment above says of which file it is"));
            if let Err(problem) = check_quotation(&block, &read(source)) {
                panic!("{place}: {}: {problem}", source.display());
            }
            quotations += 1;
        }
    }
    assert!(quotations >= 3, "{quotations} quotations: are they found?");
}

/// How GitHub makes a heading's anchor.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.flat_map(char::to_lowercase)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Where the links of a text lead to, but those to the web.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.split("](").skip(1);
    let targets = ends
        .filter_map(|behind| behind.split_once(')'))
        .map(|(target, _)| target);
    targets.filter(|target| !target.contains("://"))
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().expect("a folder").join(file),
            };
            assert!(
                root().join(&target).exists(),
                "{}: {link}: no such file",
                document.display()
            );
            if !heading.is_empty() {
                let there = read(&target);
                let mut headings = there.lines().filter_map(|line| line.strip_prefix('#'));
                let is_there =
                    headings.any(|it| anchor(it.trim_start_matches('#').trim()) == heading);
                assert!(is_there, "{}: {link}: no such heading", document.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} links: are they found?");
}

/// The files and folders of the repository that a text names between backticks.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 4] = ["docs/", "kernel/", "profiler/", "tools/"];
    let words = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

#[test]
fn files_that_documents_name_are_there() {
    let mut seen = 0;
    for document in documents() {
        for path in paths(&read(&document)) {
            // Behind a colon or a space: a line, an argument. A name in capitals stands for any.
            let file = path.split([':', ' ']).next().expect("one");
            if file.contains(|c: char| c.is_uppercase() || "*<{".contains(c)) {
                continue;
            }
            assert!(
                root().join(file).exists(),
                "{}: {path}: not there",
                document.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen} paths: are they found?");
}
