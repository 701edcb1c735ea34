//! The table of programs (`dist/docs/programs.md`) and the rows that `tests/programs/run.sh` runs are of the same programs.

use std::collections::BTreeSet;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fields of each row: program, at the defaults, with per-slot, in a namespace, what to run.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('|').collect()).collect()
}

/// What its name in the table begins with, in lower case and without what is no letter.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.collect::<String>().to_lowercase()
}

#[test]
fn each_program_that_is_run_has_a_row_in_the_table_and_each_row_is_run() {
    let (table, text) = (
        read("dist/docs/programs.md"),
        read("tests/programs/rows.txt"),
    );
    let rows = rows(&text);
    assert!(
        rows.len() > 40 && rows.iter().all(|row| row.len() == 5),
        "{rows:?}"
    );
    let in_table: Vec<String> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| program"))
        .filter_map(|line| line.split('|').nth(1).map(plain))
        .collect();
    let run: BTreeSet<String> = rows.iter().map(|row| plain(row[0])).collect();
    for name in &run {
        assert!(
            in_table.iter().any(|own| own.starts_with(name)),
            "{name} has no row"
        );
    }
    for name in &in_table {
        assert!(
            run.iter().any(|own| name.starts_with(own)),
            "{name} is not run"
        );
    }
}

#[test]
fn what_is_run_is_there() {
    let text = read("tests/programs/rows.txt");
    for row in rows(&text) {
        let mut words = row[4].split(' ');
        let (folder, program) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let folder = folder.replace("arq", "python");
        assert!(!read(&format!("tests/programs/{folder}/{program}")).is_empty());
        for answer in &row[1..4] {
            assert!(["yes", "no"].contains(answer), "{row:?}");
        }
    }
}
