use std::io::Write as _;

use super::rows::Rows;

fn file(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

#[test]
fn lines_are_bounded_and_counted() {
    let mut text = b"\xef\xbb\xbf{\"a\":1}\n\n  \r\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 300_000));
    text.extend(b"\n{\"b\":2}\nlast");
    let length = u64::try_from(text.len()).unwrap();
    let mut rows = Rows::lines(file(&text), 1_000);
    let mut seen = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        seen.push((row.number, row.content));
    }
    let expected: Vec<(u64, Result<Vec<u8>, &str>)> = vec![
        (1, Ok(b"{\"a\":1}".to_vec())),
        (4, Err("event_too_large")),
        (5, Ok(b"{\"b\":2}".to_vec())),
        (6, Ok(b"last".to_vec())),
    ];
    assert_eq!(seen, expected);
    assert_eq!(rows.bytes(), length);
}

#[test]
fn nothing_and_blank_lines_are_no_rows() {
    for text in [&b""[..], b"\n", b"\n\n \n"] {
        assert!(Rows::lines(file(text), 10).next_row().unwrap().is_none());
    }
}
