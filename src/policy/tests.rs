//! The shipped example is clean; every kind of mistake is found, at its place.

use super::*;

/// The example policy of the repository.
static EXAMPLE: include_dir::Dir<'_> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/policies");

fn example() -> Files {
    fn gather(dir: &include_dir::Dir<'_>, files: &mut Files) {
        for file in dir.files() {
            files.insert(file.path().to_str().unwrap().to_owned(), file.contents().to_vec());
        }
        dir.dirs().for_each(|dir| gather(dir, files));
    }
    let mut files = Files::new();
    gather(&EXAMPLE, &mut files);
    files
}

fn load_example(files: &Files) -> Result<Policy, Vec<Mistake>> {
    load(files, &KnownNotices::new())
}

#[test]
fn the_shipped_policy_is_clean() {
    if let Err(mistakes) = load_example(&example()) {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
}

/// The mistakes after one replacement in one file.
fn after(file: &str, from: &str, to: &str) -> Vec<Mistake> {
    let mut files = example();
    let text = String::from_utf8(files[file].clone()).unwrap();
    assert!(text.contains(from), "{file} has no `{from}`");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
    load_example(&files).err().unwrap_or_default()
}
