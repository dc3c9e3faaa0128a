//! The zip around a bundle, in one form: stored, one fixed time, no comments, no extra fields.
//!
//! Nothing in the container is left to choice but the order of the files, so a reader does not
//! interpret headers: it reads name, length and checksum and compares the rest with what a writer
//! would have written (APPNOTE 6.3.10, §4.3). No byte is unread, nothing overlaps, and there is no
//! compression that could burst.

/// Bytes of a local header before its name.
pub const HEADER_LENGTH: usize = 30;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
/// Version 2.0, names in UTF-8, stored, 1 January 1980: the same in both headers of a file.
const FIXED: [u8; 10] = [20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0];
/// Above this many files the number stands in the record of the larger format.
const SMALL_COUNT: u64 = 0xffff;

/// A file as its headers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub length: u32,
    /// Its CRC-32.
    pub checksum: u32,
    /// Where its local header begins.
    pub offset: u32,
}

/// What a local header says besides the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Length of the name in bytes.
    pub name: u16,
    /// Length of the file in bytes.
    pub length: u32,
    /// CRC-32 of the file.
    pub checksum: u32,
}

/// Reads the part of a local header before the name. `None` if it is none of ours.
#[must_use]
pub fn read_header(header: &[u8; HEADER_LENGTH]) -> Option<Claimed> {
    let number = |at: usize| {
        let bytes = header.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let name = u16::from_le_bytes(*header.get(26..)?.first_chunk::<2>()?);
    let claimed = Claimed { name, length: number(18)?, checksum: number(14)? };
    (local(&claimed) == header).then_some(claimed)
}

/// The local header of a file, with its name.
#[must_use]
pub fn header(member: &Member) -> Vec<u8> {
    let mut bytes = local(&claimed(member));
    bytes.extend_from_slice(member.path.as_bytes());
    bytes
}

/// The file's entry in the directory at the end.
#[must_use]
pub fn directory_entry(member: &Member) -> Vec<u8> {
    let mut bytes = CENTRAL.to_vec();
    // Made by: version 2.0, no system in particular, so that whoever unpacks it owns the files.
    bytes.extend_from_slice(&[20, 0]);
    put_common(&mut bytes, &claimed(member));
    // No comment, first disk, no attributes.
    bytes.extend_from_slice(&[0; 10]);
    bytes.extend_from_slice(&member.offset.to_le_bytes());
    bytes.extend_from_slice(member.path.as_bytes());
    bytes
}

/// What stands behind the directory: where it begins, how long it is, how many files it names.
#[must_use]
pub fn end(files: u64, length: u32, offset: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    if files >= SMALL_COUNT {
        let start = u64::from(offset) + u64::from(length);
        bytes.extend_from_slice(b"PK\x06\x06");
        bytes.extend_from_slice(&44_u64.to_le_bytes());
        bytes.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [files, files, u64::from(length), u64::from(offset)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
    }
    let count = u16::try_from(files).unwrap_or(u16::MAX).to_le_bytes();
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&count);
    bytes.extend_from_slice(&count);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// Whether bytes at this place begin a file rather than the directory.
#[must_use]
pub fn is_header(start: [u8; 4]) -> bool {
    start == LOCAL
}

fn claimed(member: &Member) -> Claimed {
    let name = u16::try_from(member.path.len()).unwrap_or(u16::MAX);
    Claimed { name, length: member.length, checksum: member.checksum }
}

fn local(claimed: &Claimed) -> Vec<u8> {
    let mut bytes = LOCAL.to_vec();
    put_common(&mut bytes, claimed);
    bytes
}

fn put_common(bytes: &mut Vec<u8>, claimed: &Claimed) {
    bytes.extend_from_slice(&FIXED);
    for number in [claimed.checksum, claimed.length, claimed.length] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&claimed.name.to_le_bytes());
    // No extra field.
    bytes.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_nothing_else_passes() {
        let member = Member { path: "checkpoint".to_owned(), length: 300, checksum: 0xdead_beef, offset: 7 };
        let bytes = header(&member);
        assert_eq!(bytes.len(), HEADER_LENGTH + 10);
        let fixed: [u8; HEADER_LENGTH] = *bytes.first_chunk().unwrap();
        assert_eq!(read_header(&fixed), Some(Claimed { name: 10, length: 300, checksum: 0xdead_beef }));
        for at in 0..HEADER_LENGTH {
            let mut wrong = fixed;
            wrong[at] ^= 1;
            // Checksum and name length are judged elsewhere; one length alone contradicts the other.
            let is_free = (14..18).contains(&at) || (26..28).contains(&at);
            assert_eq!(read_header(&wrong).is_some(), is_free, "{at}");
        }
        assert_eq!(directory_entry(&member).len(), 46 + 10);
        assert_eq!((end(3, 9, 9).len(), end(70_000, 9, 9).len()), (22, 22 + 56 + 20));
    }
}
