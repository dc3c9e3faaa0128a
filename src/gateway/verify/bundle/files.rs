//! The files of a bundle, in a zip or in the folder that a zip was unpacked to.
//!
//! Names and lengths are read first and held against the bounds; contents are read one file at a
//! time, and none longer than a file of its name can be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::audit::bundle::container::{self, HEADER_LENGTH, Member};
use crate::audit::bundle::{BundlePath, MAXIMUM_FILES, MAXIMUM_PATH, MAXIMUM_UNPACKED};
use crate::gateway::{Error, Result};

/// Folders within folders; a bundle has few, a policy may add some.
const MAXIMUM_DEPTH: usize = 16;

/// The files of a bundle by path.
pub(super) struct BundleFiles {
    root: PathBuf,
    /// The opened zip; `None` for a folder.
    zip: Option<BufReader<File>>,
    places: BTreeMap<String, Place>,
}

/// Where a file lies.
struct Place {
    length: u64,
    /// Where its bytes begin in the zip, and their CRC-32.
    stored: Option<(u64, u32)>,
    is_taken: bool,
}

/// Why a bundle cannot be read.
pub(super) enum Unreadable {
    /// The disk does not give it.
    Disk(Error),
    /// It is not in the form of a bundle; the place is named.
    Malformed(String),
}

/// The contents of one file.
pub(super) enum Content {
    /// It is not there.
    Absent,
    /// It is longer than a file of its name can be.
    TooLong,
    /// Its bytes, and whether they are those that the container noted.
    Bytes(Vec<u8>, Integrity),
}

/// Whether bytes are the ones that were noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integrity {
    /// As far as the container can tell.
    Sound,
    /// The checksum in the container is another.
    Broken,
}

type Walked = std::result::Result<BTreeMap<String, Place>, Unreadable>;

impl BundleFiles {
    /// Finds the files.
    pub(super) fn open(path: &Path) -> std::result::Result<Self, Unreadable> {
        let root = path.to_path_buf();
        if path.is_dir() {
            let places = walk_folder(path)?;
            return Ok(Self { root, zip: None, places });
        }
        let failed = |source| disk(path, source);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut zip = BufReader::with_capacity(1 << 16, file);
        let places = walk_zip(&mut zip, length, path)?;
        Ok(Self { root, zip: Some(zip), places })
    }

    /// The paths, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// The paths of files that were not read.
    pub(super) fn left_over(&self) -> impl Iterator<Item = &str> {
        self.places.iter().filter(|(_, place)| !place.is_taken).map(|(path, _)| path.as_str())
    }

    /// Reads a file whole.
    pub(super) fn read(&mut self, path: &BundlePath) -> Result<Content> {
        let name = path.to_string();
        let Some(place) = self.places.get_mut(&name) else { return Ok(Content::Absent) };
        place.is_taken = true;
        if place.length > path.maximum_length() {
            return Ok(Content::TooLong);
        }
        let shown = self.root.display().to_string();
        let failed = |source| Error::File { what: "cannot read the bundle", path: shown.clone(), source };
        let mut bytes = Vec::new();
        match (&mut self.zip, place.stored) {
            (Some(zip), Some((offset, _))) => {
                zip.seek(SeekFrom::Start(offset)).map_err(failed)?;
                zip.take(place.length).read_to_end(&mut bytes).map_err(failed)?;
            }
            _ => {
                let file = File::open(self.root.join(&name)).map_err(failed)?;
                // One byte more than there was: a file that grows meanwhile is another file.
                file.take(place.length.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
            }
        }
        let is_sound = u64::try_from(bytes.len()) == Ok(place.length)
            && place.stored.is_none_or(|(_, checksum)| crc32fast::hash(&bytes) == checksum);
        Ok(Content::Bytes(bytes, if is_sound { Integrity::Sound } else { Integrity::Broken }))
    }
}

/// Reads the headers of a zip from its first byte to its last.
fn walk_zip(zip: &mut BufReader<File>, length: u64, path: &Path) -> Walked {
    let failed = |source| disk(path, source);
    let mut members: Vec<Member> = Vec::new();
    let mut places = BTreeMap::new();
    let (mut offset, mut unpacked) = (0_u64, 0_u64);
    let mut start = [0; 4];
    loop {
        fill(zip, &mut start, offset).map_err(failed)??;
        if !container::is_header(start) {
            break;
        }
        let mut header = [0; HEADER_LENGTH];
        let (first, rest) = header.split_at_mut(start.len());
        first.copy_from_slice(&start);
        fill(zip, rest, offset).map_err(failed)??;
        let claimed = container::read_header(&header).ok_or_else(|| {
            malformed(format!(
                "the header at byte {offset} is not one that an export writes; unpack the archive and verify the folder"
            ))
        })?;
        if usize::from(claimed.name) > MAXIMUM_PATH {
            return Err(malformed(format!("the name at byte {offset} is too long")));
        }
        let mut name = vec![0; usize::from(claimed.name)];
        fill(zip, &mut name, offset).map_err(failed)??;
        let name = String::from_utf8(name).map_err(|_| malformed(format!("the name at byte {offset} is not UTF-8")))?;
        let begin = offset + 30 + u64::from(claimed.name);
        unpacked += u64::from(claimed.length);
        let end = begin + u64::from(claimed.length);
        if end > length {
            return Err(malformed(format!("{} ends behind the end of the archive", shown(&name))));
        }
        zip.seek_relative(i64::from(claimed.length)).map_err(failed)?;
        let place = Place { length: claimed.length.into(), stored: Some((begin, claimed.checksum)), is_taken: false };
        admit(&mut places, &name, place, unpacked)?;
        members.push(Member {
            path: name,
            length: claimed.length,
            checksum: claimed.checksum,
            offset: u32::try_from(offset).map_err(|_| malformed("it is larger than 4 GiB".to_owned()))?,
        });
        offset = end;
    }
    // The directory repeats what was read, so it is not read but compared.
    let directory = u32::try_from(offset).map_err(|_| malformed("it is larger than 4 GiB".to_owned()))?;
    zip.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut at = offset;
    let mut expect = |zip: &mut BufReader<File>, wanted: Vec<u8>| {
        let mut found = vec![0; wanted.len()];
        fill(zip, &mut found, at).map_err(failed)??;
        if found != wanted {
            return Err(malformed(format!("the directory at byte {at} is not that of its files")));
        }
        at += u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        Ok(at)
    };
    let mut end = offset;
    for member in &members {
        end = expect(zip, container::directory_entry(member))?;
    }
    let files = u64::try_from(members.len()).unwrap_or(u64::MAX);
    let size = u32::try_from(end - offset).map_err(|_| malformed("it is larger than 4 GiB".to_owned()))?;
    if expect(zip, container::end(files, size, directory))? != length {
        return Err(malformed("bytes follow behind its end".to_owned()));
    }
    Ok(places)
}

/// Reads exactly these bytes; the inner error says that the archive is cut short.
fn fill(
    zip: &mut BufReader<File>,
    bytes: &mut [u8],
    offset: u64,
) -> std::io::Result<std::result::Result<(), Unreadable>> {
    match zip.read_exact(bytes) {
        Ok(()) => Ok(Ok(())),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(Err(malformed(format!("it is cut short behind byte {offset}"))))
        }
        Err(error) => Err(error),
    }
}

/// Finds the files below a folder.
fn walk_folder(root: &Path) -> Walked {
    let mut places = BTreeMap::new();
    let mut unpacked = 0_u64;
    let mut seen = 0_usize;
    let mut folders = vec![(root.to_path_buf(), String::new(), 0_usize)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        let failed = |source| disk(&folder, source);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            seen += 1;
            if seen > MAXIMUM_FILES.saturating_mul(2) {
                return Err(malformed("it has more than 1,000,000 files".to_owned()));
            }
            let Ok(name) = entry.file_name().into_string() else {
                return Err(malformed(format!("a name below {} is not UTF-8", shown(&prefix))));
            };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                if depth >= MAXIMUM_DEPTH {
                    return Err(malformed(format!("{} lies too deep", shown(&path))));
                }
                folders.push((entry.path(), path + "/", depth + 1));
            } else if kind.is_file() {
                let length = entry.metadata().map_err(failed)?.len();
                unpacked = unpacked.saturating_add(length);
                admit(&mut places, &path, Place { length, stored: None, is_taken: false }, unpacked)?;
            } else {
                return Err(malformed(format!("{} is neither a file nor a folder", shown(&path))));
            }
        }
    }
    Ok(places)
}

/// Takes a file up, within the bounds of reading.
fn admit(
    places: &mut BTreeMap<String, Place>,
    path: &str,
    place: Place,
    unpacked: u64,
) -> std::result::Result<(), Unreadable> {
    if BundlePath::parse(path).is_none() {
        return Err(malformed(format!("{} is not a file of a bundle", shown(path))));
    }
    if unpacked > MAXIMUM_UNPACKED {
        return Err(malformed("its files are larger than 4 GiB together".to_owned()));
    }
    if places.len() >= MAXIMUM_FILES {
        return Err(malformed("it has more than 1,000,000 files".to_owned()));
    }
    match places.insert(path.to_owned(), place) {
        None => Ok(()),
        Some(_) => Err(malformed(format!("{} stands in it twice", shown(path)))),
    }
}

/// A name for people: whatever it holds, a terminal only shows it.
fn shown(path: &str) -> String {
    let short: String = path.chars().take(100).collect();
    format!("{short:?}")
}

fn disk(path: &Path, source: std::io::Error) -> Unreadable {
    Unreadable::Disk(Error::File { what: "cannot read the bundle", path: path.display().to_string(), source })
}

const fn malformed(what: String) -> Unreadable {
    Unreadable::Malformed(what)
}
