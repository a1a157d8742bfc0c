//! Words for a shell.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::terminal::is_unsafe;

/// `word` as a shell reads it as one word: as it is, in quotes, or, with characters that a
/// terminal would obey, in those of bash (`$'…'`).
pub(crate) fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    if !word.contains(is_unsafe) {
        return Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")));
    }
    let mut quoted = "$'".to_owned();
    for c in word.chars() {
        match c {
            '\\' | '\'' => quoted.extend(['\\', c]),
            c if is_unsafe(c) => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::shell_word;
    use crate::output::one_line;

    #[test]
    fn a_shell_reads_the_word_back() {
        for (word, quoted) in [
            ("-m", "-m"),
            ("id=ram,size=1M", "id=ram,size=1M"),
            ("", "''"),
            ("two words", "'two words'"),
            ("$HOME;`ls`", "'$HOME;`ls`'"),
            ("it's", r"'it'\''s'"),
            ("~", "'~'"),
            ("é", "'é'"),
            ("a\nb\x1b'\\", r"$'a\U0000000ab\U0000001b\'\\'"),
        ] {
            let said = shell_word(word);
            assert_eq!(said, quoted);
            assert_eq!(one_line(&said), said, "nothing is left to escape");
            let read = Command::new("bash")
                .env("LC_ALL", "C.UTF-8")
                .args(["-c", &format!("printf '[%s]' {said}")])
                .output();
            let read = String::from_utf8(read.unwrap().stdout).unwrap();
            assert_eq!(read, format!("[{word}]"));
        }
    }
}
