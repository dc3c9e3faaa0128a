//! From the bytes on the wire to the bytes that were meant: at most one coding, and never more than
//! the cap in memory, whatever the compression promises.
//!
//! The bytes decide and not the headers: `1f 8b` is gzip whatever is claimed, and a body that claims
//! to be coded but starts with `{` or `[` is taken as it is.

use std::borrow::Cow;
use std::io::Read;

use super::refusal::Refusal;

/// Undoes the content coding.
///
/// `codings` are the values of `Content-Encoding`, line by line. `most` bounds the body both as
/// received and as decoded, in bytes.
///
/// # Errors
/// [`Refusal::BodyTooLarge`] past the cap; [`Refusal::Coding`] for two codings or an unknown one;
/// [`Refusal::Malformed`] if the compressed data is broken.
pub fn decode<'a>(
    body: &'a [u8],
    codings: impl IntoIterator<Item = &'a [u8]>,
    most: usize,
) -> Result<Cow<'a, [u8]>, Refusal> {
    if body.len() > most {
        return Err(Refusal::BodyTooLarge);
    }
    let coding = Coding::of(body, claimed(codings)?);
    let decoded = match coding {
        Coding::Identity => Cow::Borrowed(body),
        // A brotli or raw deflate stream may begin with the very byte of `{` or `[`, so what looks
        // like JSON is taken as it is only if it cannot be decoded.
        Coding::Brotli | Coding::Deflate if looks_like_json(body) => match undone(coding, body, most) {
            Err(Refusal::Malformed) => Cow::Borrowed(body),
            outcome => outcome?,
        },
        coding => undone(coding, body, most)?,
    };
    Ok(without_mark(decoded))
}

fn undone(coding: Coding, body: &[u8], most: usize) -> Result<Cow<'_, [u8]>, Refusal> {
    Ok(match coding {
        Coding::Identity => Cow::Borrowed(body),
        Coding::Gzip => bounded(flate2::read::MultiGzDecoder::new(body), most)?,
        Coding::Zlib => bounded(flate2::read::ZlibDecoder::new(body), most)?,
        Coding::Deflate => bounded(flate2::read::DeflateDecoder::new(body), most)?,
        Coding::Brotli => bounded(brotli_decompressor::Decompressor::new(body, 4096), most)?,
        Coding::Zstd => zstd(body, most)?,
    })
}

fn looks_like_json(body: &[u8]) -> bool {
    let text = body.strip_prefix(MARK).unwrap_or(body);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, None | Some(b'{' | b'['))
}

/// A coding as a header names it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    Nothing,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// A coding as the bytes have it.
#[derive(Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
    Zlib,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn of(body: &[u8], claim: Claim) -> Self {
        if body.starts_with(&[0x1f, 0x8b]) {
            return Self::Gzip;
        }
        match claim {
            Claim::Zstd if looks_like_json(body) => Self::Identity,
            Claim::Nothing | Claim::Gzip => Self::Identity,
            // RFC 1950: the first two bytes of a zlib stream are a multiple of 31. Some clients
            // send the raw form under the same name.
            Claim::Deflate => match body {
                [first, second, ..]
                    if first & 0x0f == 8 && (u16::from(*first) * 256 + u16::from(*second)) % 31 == 0 =>
                {
                    Self::Zlib
                }
                _ => Self::Deflate,
            },
            Claim::Brotli => Self::Brotli,
            Claim::Zstd => Self::Zstd,
        }
    }
}

fn claimed<'a>(codings: impl IntoIterator<Item = &'a [u8]>) -> Result<Claim, Refusal> {
    let mut claim = Claim::Nothing;
    for line in codings {
        for name in line.split(|byte| *byte == b',') {
            let named = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Claim::Gzip,
                b"deflate" => Claim::Deflate,
                b"br" => Claim::Brotli,
                b"zstd" => Claim::Zstd,
                _ => return Err(Refusal::Coding),
            };
            if claim != Claim::Nothing {
                return Err(Refusal::Coding);
            }
            claim = named;
        }
    }
    Ok(claim)
}

/// The largest window a zstd frame may ask for (RFC 8878 §3.1.1.1.2 advises to support 8 MiB).
const WINDOW: u64 = 8 << 20;

fn zstd(body: &[u8], most: usize) -> Result<Cow<'static, [u8]>, Refusal> {
    let decoder =
        ruzstd::decoding::StreamingDecoder::new_with_max_window_size(body, WINDOW).map_err(|_| Refusal::Malformed)?;
    bounded(decoder, most)
}

/// Reads at most one byte past the cap, so that a bomb costs the cap and no more.
fn bounded(reader: impl Read, most: usize) -> Result<Cow<'static, [u8]>, Refusal> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut decoded = Vec::new();
    reader.take(limit).read_to_end(&mut decoded).map_err(|_| Refusal::Malformed)?;
    if decoded.len() > most {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(Cow::Owned(decoded))
}

/// The UTF-8 byte order mark.
const MARK: &[u8] = &[0xef, 0xbb, 0xbf];

fn without_mark(body: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match body {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.strip_prefix(MARK).unwrap_or(bytes)),
        Cow::Owned(mut bytes) => {
            if bytes.starts_with(MARK) {
                bytes.drain(..MARK.len());
            }
            Cow::Owned(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = br#"{"batch":[]}"#;

    fn decoded(body: &[u8], coding: &str) -> Result<Vec<u8>, Refusal> {
        decode(body, [coding.as_bytes()], 64 * 1024).map(Cow::into_owned)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_by_header_and_by_bytes() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(TEXT).unwrap();
        let brotli = [&[0x8b, 0x05, 0x80][..], TEXT, &[0x03]].concat();
        let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 12, 0x61, 0, 0][..], TEXT].concat();
        for (body, coding) in [
            (TEXT.to_vec(), ""),
            (TEXT.to_vec(), "gzip"),
            (TEXT.to_vec(), "br"),
            (TEXT.to_vec(), "deflate"),
            (TEXT.to_vec(), "zstd"),
            (gzip(TEXT), ""),
            (gzip(TEXT), "br"),
            (gzip(TEXT), "GZIP"),
            (zlib.finish().unwrap(), "deflate"),
            (raw.finish().unwrap(), "deflate"),
            (brotli, "br"),
            (zstd, "zstd"),
            ([MARK, TEXT].concat(), "identity"),
            (gzip(&[MARK, TEXT].concat()), "gzip"),
        ] {
            assert_eq!(decoded(&body, coding).as_deref(), Ok(TEXT), "{coding}");
        }
    }

    #[test]
    fn two_codings_and_unknown_ones_are_refused() {
        for coding in ["gzip, gzip", "gzip, br", "compress", "aws-chunked"] {
            assert_eq!(decoded(TEXT, coding), Err(Refusal::Coding), "{coding}");
        }
    }

    #[test]
    fn a_bomb_costs_the_cap_and_no_more() {
        let bomb = gzip(&vec![b'['; 8 << 20]);
        assert!(bomb.len() < 16 * 1024);
        assert_eq!(decoded(&bomb, "gzip"), Err(Refusal::BodyTooLarge));
        assert_eq!(decoded(&vec![b'['; 64 * 1024 + 1], ""), Err(Refusal::BodyTooLarge));
        assert_eq!(decoded(&gzip(TEXT)[..20], "gzip"), Err(Refusal::Malformed));
        assert_eq!(decoded(&[0xff; 30], "br"), Err(Refusal::Malformed));
    }
}
