use super::support::Kdir;
use predicates::str::contains;

#[test]
fn prints_a_script_for_each_shell() {
    for (shell, word) in [("bash", "_kdir"), ("zsh", "#compdef kdir"), ("fish", "complete -c kdir")] {
        Kdir::new().run(&["completions", shell]).success().stdout(contains(word)).stderr("");
    }
    Kdir::new().run(&["completions", "tcsh"]).code(2);
}
