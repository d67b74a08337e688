use super::support::Kdir;
use predicates::str::contains;

#[test]
fn prints_a_page_for_kdir_and_for_each_command() {
    let kdir = Kdir::new();
    kdir.run(&["man"]).success().stdout(contains(".TH kdir 1"));
    kdir.run(&["man", "delete-records"]).success().stdout(contains("kdir-delete-records"));
    kdir.run(&["man", "nope"]).code(2).stderr(contains("there is no command nope; there are create,"));
}
