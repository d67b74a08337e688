//! The arguments of a command, described to clap when the command line has named it.
//!
//! A run needs those of one command. To describe all of them would be half of the time of its start.

use clap::error::Result;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Id};

/// The arguments of a command.
#[derive(Debug)]
pub(super) struct Lazy<T>(pub(super) T);

/// A number with a minus is the value of the option before it: what takes values takes those as well, to use or to refuse.
pub(super) fn with_negative_numbers(command: Command) -> Command {
    let take = |arg: Arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(take)
}

/// Adds arguments by `add`, before those that every command has and that clap has given it already.
fn described(command: Command, add: fn(Command) -> Command) -> Command {
    let everywhere: Vec<Id> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    // An argument that is changed comes last.
    let in_order = everywhere.iter().fold(add(command), |command, id| command.mut_arg(id, |arg| arg));
    with_negative_numbers(in_order)
}

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| described(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| described(command, T::augment_args_for_update))
    }
}

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<()> {
        self.0.update_from_arg_matches(matches)
    }

    fn update_from_arg_matches_mut(&mut self, matches: &mut ArgMatches) -> Result<()> {
        self.0.update_from_arg_matches_mut(matches)
    }
}
