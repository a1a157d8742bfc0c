//! Which command a word means.

use profiler::format::Text;

use super::{Command, Problem};

/// The command that is called `word`, or the only one whose name begins so.
///
/// # Errors
///
/// There is none, or more than one.
pub fn find_command<'a>(
    commands: impl Iterator<Item = &'a Command>,
    word: &str,
) -> Result<&'a Command, Problem> {
    let mut found = None;
    let mut names = Text::<80>::EMPTY;
    let mut count = 0;
    for command in commands.filter(|command| command.name.starts_with(word)) {
        if command.name == word {
            return Ok(command);
        }
        count += 1;
        let comma = if count == 1 { "" } else { ", " };
        names = Text::formatted(format_args!("{}{comma}{}", names.as_str(), command.name));
        found = Some(command);
    }
    match (found, count) {
        (Some(command), 1) => Ok(command),
        (Some(_), _) => Err(Problem::new(format_args!(
            "`{word}` may be any of {}",
            names.as_str()
        ))),
        (None, _) => {
            let word = Text::<40>::new(word);
            let word = word.as_str();
            Err(Problem::new(format_args!(
                "no command `{word}`; try `help`"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(word: &str) -> Result<&'static str, std::string::String> {
        const fn command(name: &'static str) -> Command {
            Command {
                name,
                arguments: "",
                summary: "",
                run: |_, _| Ok(()),
            }
        }
        static COMMANDS: [Command; 4] = [
            command("resume"),
            command("reboot"),
            command("on"),
            command("once"),
        ];
        let found = find_command(COMMANDS.iter(), word);
        found
            .map(|it| it.name)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_beginning_of_a_name_is_enough_if_no_other_begins_so() {
        assert_eq!(found("res"), Ok("resume"));
        assert_eq!(found("reboot"), Ok("reboot"));
        assert_eq!(found("on"), Ok("on"));
        assert_eq!(found("onc"), Ok("once"));
        let said = "`re` may be any of resume, reboot";
        assert_eq!(found("re").unwrap_err(), said);
        assert_eq!(
            found("resumes").unwrap_err(),
            "no command `resumes`; try `help`"
        );
        assert_eq!(found("RES").unwrap_err(), "no command `RES`; try `help`");
    }
}
