//! A command's manual page in roff, from what clap knows of the command.
//!
//! The words are those of `--help`; what stands between backticks there is bold here. What the help of a command does not
//! have is said in this file, once for all pages: exit status, files, environment.
//!
//! Pages are the same whenever and wherever they are printed, and neither `mandoc -T lint` nor `groff -ww` has anything to
//! say about them.

use super::{kafka_page, queue_page};
use clap::{Arg, Command};
use roff::{Inline, Roff, bold, italic, roman};

/// The version that the pages describe, and the day of its release.
const RELEASE: (&str, &str) = ("0.1.0", "2026-11-23");

const PROGRAM: &str = "kdir";

/// How long a line of the source may be.
const LINE: usize = 79;

const EXIT_STATUS: [(&str, &str); 6] = [
    ("0", "Done. A reader that closed our stdout early counts as done."),
    ("1", "Failed. What was stored before the failure stays, and the message says where it stopped."),
    ("2", "Wrong usage."),
    ("3", "Done, but for records that were rejected, each of which was named."),
    ("4", "Corruption was found."),
    ("129, 130, 143", "What a shell shows after SIGHUP, SIGINT or SIGTERM. Everything acknowledged so far is on disk."),
];

const LOG_DIR: (&str, &str) = (
    "~/.local/share/kdir",
    "The log dir, unless `--log-dir`, `KDIR_LOG_DIR` or `XDG_DATA_HOME` names another. Its files are Kafka's, but for \
     those that are said to be kdir's own.",
);

const FILES: [(&str, &str); 12] = [
    ("TOPIC.json", "Id, number of partitions and configuration of a topic. kdir's own; a broker ignores it."),
    ("TOPIC-N/", "A partition."),
    ("TOPIC-N/OFFSET.log", "A segment: its record batches, from this base offset on."),
    (
        "TOPIC-N/OFFSET.index, .timeindex",
        "Its indexes: offset to position, and timestamp to offset. They are derived: a wrong one can cost time, and never \
         changes an answer.",
    ),
    ("TOPIC-N/leader-epoch-checkpoint, partition.metadata", "The leader epochs of a partition, and the topic's id."),
    (
        "TOPIC-N/cut-*, *.damaged",
        "What a killed writer left half written, and what a repair took out. kdir's own; nothing needs them.",
    ),
    (
        "TOPIC-0/GROUP.group",
        "Locks of the members of a group that run, and of records that are being handled. kdir's own; nothing needs it when none \
         does.",
    ),
    ("__consumer_offsets-N/", "What consumer groups have committed, and which topics share groups work."),
    ("__share_group_state-N/", "What share groups, which are work queues, have done."),
    ("recovery-point-offset-checkpoint", "The offset of each partition below which everything is durable."),
    (
        "log-start-offset-checkpoint",
        "The first offset of each partition of which `kdir delete-records` deleted records.",
    ),
    (".lock", "Empty. Writers share a lock on it, a broker wants it for itself."),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    ("KDIR_LOG_DIR", "The log dir where `--log-dir` names none."),
    ("XDG_DATA_HOME", "Where `kdir` is the log dir that neither of them names, in place of `~/.local/share`."),
    ("NO_COLOR", "No colour, unless `--color` asks for it, if this is not empty."),
    ("CLICOLOR_FORCE", "Use colour without a terminal too, unless this is empty or 0."),
    ("TZ", "The time zone of times that are shown, and of those that are given without one."),
    ("KDIR_COMPLETE", "The shell that asks for completions: see `kdir-completions`(1)."),
];

/// The page of a command of the program, or, without one, that of the program. The program is built.
pub(crate) fn page(program: &Command, command: Option<&Command>) -> String {
    let subject = command.unwrap_or(program);
    let mut page = Page::default();
    page.title(subject);
    page.synopsis(subject);
    page.description(subject);
    if command.is_none() {
        page.commands(program);
    }
    page.arguments(subject);
    page.options(subject);
    page.examples(subject);
    if command.is_some() {
        subject.get_subcommands().for_each(|command| page.subcommand(command));
    }
    page.list("EXIT STATUS", &EXIT_STATUS, bold);
    page.list("FILES", &[LOG_DIR], italic);
    if command.is_none() {
        page.entries(&FILES, italic);
    } else {
        page.control("IP");
        page.text("`kdir`(1) tells what lies in it.");
    }
    page.list("ENVIRONMENT", &ENVIRONMENT, bold);
    page.see_also(program, subject);
    page.render()
}

/// A section: its heading, paragraphs, and things with explanations.
pub(crate) type Section = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

/// A page about a subject, in section 7.
pub(crate) struct TopicPage {
    /// What it is called, after `kdir-`.
    pub(crate) name: &'static str,
    /// What it is about, in a line.
    pub(crate) about: &'static str,
    pub(crate) sections: &'static [Section],
    /// Command lines.
    pub(crate) examples: &'static [&'static str],
    pub(crate) see_also: &'static str,
}

/// All of them.
pub(crate) const TOPIC_PAGES: [&TopicPage; 2] = [&kafka_page::PAGE, &queue_page::PAGE];

/// The text of a page about a subject.
pub(crate) fn topic_page(subject: &TopicPage) -> String {
    let mut page = Page::default();
    page.heading(&format!("kdir-{}", subject.name), "7", subject.about);
    for (section, paragraphs, entries) in subject.sections {
        page.section(section);
        for (place, paragraph) in paragraphs.iter().enumerate() {
            if place > 0 {
                page.control("PP");
            }
            page.text(paragraph);
        }
        page.entries(entries, bold);
    }
    page.section("EXAMPLES");
    page.control("EX");
    for line in subject.examples {
        page.0.text([roman(*line)]);
    }
    page.control("EE");
    page.section("SEE ALSO");
    page.text(subject.see_also);
    page.render()
}

/// The name of a command's page.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

#[derive(Default)]
struct Page(Roff);

impl Page {
    fn render(&self) -> String {
        // The crate writes a backslash as \\, which is none outside of macros.
        self.0.render().replace(r"\\", r"\e")
    }

    fn control(&mut self, name: &str) -> &mut Self {
        self.0.control(name, []);
        self
    }

    fn section(&mut self, name: &str) {
        self.0.control("SH", [name]);
    }

    /// A paragraph: in lines, for those who read the source, and with code in bold.
    fn text(&mut self, text: &str) {
        let length = |line: &[Inline]| Roff::new().text(line).render().lines().last().map_or(0, str::len);
        let mut line = Vec::new();
        for mut word in words(text) {
            let mut longer = line.clone();
            if !longer.is_empty() {
                longer.push(roman(" "));
            }
            longer.append(&mut word.clone());
            if !line.is_empty() && length(&longer) > LINE {
                self.0.text(std::mem::take(&mut line));
                line.append(&mut word);
            } else {
                line = longer;
            }
        }
        self.0.text(line);
    }

    /// Something with its explanation, a paragraph or several.
    fn item(&mut self, head: Vec<Inline>, text: &str) {
        self.control("TP");
        self.0.text(head);
        for (place, paragraph) in text.split("\n\n").enumerate() {
            if place > 0 {
                self.control("IP");
            }
            self.text(paragraph);
        }
    }

    fn list(&mut self, section: &str, entries: &[(&str, &str)], style: fn(String) -> Inline) {
        self.section(section);
        self.entries(entries, style);
    }

    fn entries(&mut self, entries: &[(&str, &str)], style: fn(String) -> Inline) {
        for (name, text) in entries {
            self.item(vec![style((*name).to_owned())], text);
        }
    }

    fn title(&mut self, command: &Command) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        // A command is described by a verb; the program's own begins with a name.
        let about = if command.get_name() == PROGRAM { about } else { uncapitalized(&about) };
        self.heading(&page_name(command), "1", &about);
    }

    /// The first lines of a page, of a section of the manual.
    fn heading(&mut self, name: &str, section: &str, about: &str) {
        let (version, day) = RELEASE;
        let source = format!("kdir {version}");
        let volume = if section == "1" { "User Commands" } else { "Miscellaneous" };
        self.0.control("TH", [name.to_uppercase().as_str(), section, day, &source, volume]);
        // Names such as max.message.bytes stay whole, also behind headings, where groff looks at HY; lines have no gaps.
        self.0.control("nr", ["HY", "0"]).control("nh", []).control("ad", ["l"]);
        self.section("NAME");
        self.0.text([roman(format!("{name} - {about}"))]);
    }

    fn synopsis(&mut self, command: &Command) {
        self.section("SYNOPSIS");
        let line = Self::typed(command);
        self.0.text(line);
    }

    /// A command as it is typed.
    fn typed(command: &Command) -> Vec<Inline> {
        let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
        line.extend([roman(" ["), italic("OPTIONS"), roman("]")]);
        for option in command.get_opts().filter(|option| option.is_required_set()) {
            line.push(roman(" "));
            line.extend(option_in_synopsis(option));
        }
        for group in command.get_groups().filter(|group| group.is_required_set()) {
            let members = group.get_args().filter_map(|id| command.get_arguments().find(|arg| arg.get_id() == id));
            for (place, option) in members.enumerate() {
                line.push(roman(if place == 0 { " {" } else { " | " }));
                line.extend(option_in_synopsis(option));
            }
            line.push(roman("}"));
        }
        for argument in command.get_positionals() {
            line.push(roman(if argument.is_required_set() { " " } else { " [" }));
            line.push(italic(value_name(argument)));
            line.push(roman(if argument.is_required_set() { "" } else { "]" }));
            line.push(roman(if takes_many(argument) { "..." } else { "" }));
        }
        if command.has_subcommands() {
            line.extend([roman(" "), italic("COMMAND")]);
        }
        line
    }

    fn description(&mut self, command: &Command) {
        self.section("DESCRIPTION");
        let long = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        // The first paragraph is the line under NAME, and the exit status has a section of its own.
        let mut paragraphs: Vec<&str> =
            long.split("\n\n").skip(1).filter(|it| !it.starts_with("Exit status:")).collect();
        if paragraphs.is_empty() {
            paragraphs.push(&long);
        }
        for (place, paragraph) in paragraphs.into_iter().enumerate() {
            if place > 0 {
                self.control("PP");
            }
            self.text(paragraph);
        }
    }

    fn commands(&mut self, program: &Command) {
        self.section("COMMANDS");
        for command in program.get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            self.item(vec![bold(page_name(command)), roman("(1)")], &about);
        }
    }

    /// A command of a command: all of it but what is on the page once.
    fn subcommand(&mut self, command: &Command) {
        self.section(&command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase());
        self.0.text(Self::typed(command));
        self.control("PP");
        let long = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        for (place, paragraph) in long.split("\n\n").enumerate() {
            if place > 0 {
                self.control("PP");
            }
            self.text(paragraph);
        }
        for argument in command.get_positionals() {
            self.argument(vec![italic(value_name(argument))], argument);
        }
        let is_own = |option: &&Arg| {
            option.get_help_heading() != Some(super::GLOBAL) && option.get_id() != "help" && !option.is_hide_set()
        };
        for option in command.get_opts().filter(is_own) {
            self.argument(option_head(option), option);
        }
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        self.control("PP").control("EX");
        for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
            self.0.text([roman(line)]);
        }
        self.control("EE");
    }

    fn arguments(&mut self, command: &Command) {
        let arguments: Vec<&Arg> = command.get_positionals().collect();
        if !arguments.is_empty() {
            self.section("ARGUMENTS");
            for argument in arguments {
                self.argument(vec![italic(value_name(argument))], argument);
            }
        }
    }

    /// Options without a heading first, those of every command last; that every command has help, clap has added.
    fn options(&mut self, command: &Command) {
        let heading = |option: &Arg| match option.get_id().as_str() {
            "help" | "version" => Some(super::GLOBAL.to_owned()),
            _ => option.get_help_heading().map(ToOwned::to_owned),
        };
        let is_option = |arg: &&Arg| !arg.is_positional() && !arg.is_hide_set();
        let options: Vec<&Arg> = command.get_arguments().filter(is_option).collect();
        let mut headings: Vec<Option<String>> = vec![None];
        for option in &options {
            if !headings.contains(&heading(option)) {
                headings.push(heading(option));
            }
        }
        headings.sort_by_key(|heading| heading.as_deref() == Some(super::GLOBAL));
        self.section("OPTIONS");
        for wanted in headings {
            if let Some(name) = &wanted {
                self.0.control("SS", [name.as_str()]);
            }
            for option in options.iter().filter(|option| heading(option) == wanted) {
                self.argument(option_head(option), option);
            }
        }
    }

    fn argument(&mut self, head: Vec<Inline>, arg: &Arg) {
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let values = arg.get_possible_values();
        let is_listed = values.iter().any(|value| value.get_help().is_some());
        let (first, rest) = help.split_once("\n\n").map_or((help.as_str(), None), |(first, rest)| (first, Some(rest)));
        let mut text = first.to_owned();
        if arg.get_action().takes_values() {
            let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            if !defaults.is_empty() {
                text.push_str(&format!(" [default: {}]", defaults.join(",")));
            }
            if !values.is_empty() && !is_listed {
                let names: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
                text.push_str(&format!(" [possible values: {}]", names.join(", ")));
            }
        }
        if let Some(variable) = arg.get_env() {
            text.push_str(&format!(" [env: {}]", variable.to_string_lossy()));
        }
        if let Some(rest) = rest {
            text.push_str("\n\n");
            text.push_str(rest);
        }
        self.item(head, &text);
        if arg.get_action().takes_values() && is_listed {
            self.control("RS");
            for value in values {
                let help = value.get_help().map(ToString::to_string).unwrap_or_default();
                self.item(vec![bold(value.get_name())], &help);
            }
            self.control("RE");
        }
    }

    /// Lines that are set in are commands, as they are typed.
    fn examples(&mut self, command: &Command) {
        let Some(help) = command.get_after_long_help().map(ToString::to_string) else { return };
        self.section("EXAMPLES");
        let mut is_code = false;
        for line in help.lines().filter(|line| !line.is_empty() && !line.starts_with("Example")) {
            let code = line.strip_prefix("  ");
            if is_code != code.is_some() {
                self.control(if is_code { "EE" } else { "EX" });
                is_code = !is_code;
            }
            match code {
                Some(code) => {
                    self.0.text([roman(code)]);
                }
                None => self.text(line),
            }
        }
        if is_code {
            self.control("EE");
        }
    }

    fn see_also(&mut self, program: &Command, subject: &Command) {
        self.section("SEE ALSO");
        let pages = [program].into_iter().chain(program.get_subcommands()).map(page_name);
        let pages: Vec<String> =
            pages.filter(|name| *name != page_name(subject)).map(|name| format!("`{name}`(1)")).collect();
        self.text(&pages.join(", "));
    }
}

/// The words of a text, each with its parts: bold between backticks.
fn words(text: &str) -> Vec<Vec<Inline>> {
    let mut words = vec![Vec::new()];
    for (place, part) in text.split('`').enumerate() {
        for (gap, piece) in part.split([' ', '\n']).enumerate() {
            if gap > 0 {
                words.push(Vec::new());
            }
            if let (Some(word), false) = (words.last_mut(), piece.is_empty()) {
                word.push(if place % 2 == 1 { bold(piece) } else { roman(piece) });
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn uncapitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_lowercase().chain(rest).collect())
}

fn takes_many(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|count| count.max_values() > 1)
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
}

/// `-p, --partition N,M`.
fn option_head(option: &Arg) -> Vec<Inline> {
    let mut head = Vec::new();
    if let Some(short) = option.get_short() {
        head.push(bold(format!("-{short}")));
    }
    if let Some(long) = option.get_long() {
        if !head.is_empty() {
            head.push(roman(", "));
        }
        head.push(bold(format!("--{long}")));
    }
    if option.get_action().takes_values() {
        head.extend([roman(" "), italic(value_name(option))]);
    }
    head
}

/// `--at TIME`.
fn option_in_synopsis(option: &Arg) -> Vec<Inline> {
    option_head(&option.clone().short(None))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_day_is_that_of_this_version() {
        assert_eq!(super::RELEASE.0, env!("CARGO_PKG_VERSION"), "give RELEASE the new version and its day");
    }
}
