//! A file of the engine cache: what it is for, and a body that is whole or is not used.
//!
//! Eight bytes of magic, then two fields, each with its length before it as 64-bit little endian: the key (UTF-8, lines
//! of `name = value`) and the body; between them the 32 bytes of the SHA-256 of key and body. So a file that was cut
//! short, changed, or made for something else is found out before TensorRT sees it.

use sha2::{Digest, Sha256};

use crate::pack::sha256_hex;

const MAGIC: [u8; 8] = *b"URXENG1\n";
const DIGEST: usize = 32;
/// A key is a few lines; a longer one is rubbish.
const MAX_KEY: u64 = 64 << 10;

/// What a file is for: equal keys, interchangeable bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// From names and values, in an order that stays.
    pub fn new(fields: &[(&str, &str)]) -> Self {
        let one_line = |text: &str| text.replace(|c: char| c.is_control(), " ");
        Self(
            fields
                .iter()
                .map(|(name, value)| format!("{name} = {}\n", one_line(value)))
                .collect(),
        )
    }

    /// A short digest, for file names.
    pub fn digest(&self) -> String {
        let mut digest = sha256_hex([&self.0]);
        digest.truncate(16);
        digest
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
    }
}

fn digest(key: &[u8], body: &[u8]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    hash.finalize().into()
}

/// The whole file but for the body, which follows.
pub(crate) fn head(key: &Key, body: &[u8]) -> Vec<u8> {
    let text = key.0.as_bytes();
    let mut head = MAGIC.to_vec();
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text);
    head.extend(digest(text, body));
    head.extend((body.len() as u64).to_le_bytes());
    head
}

/// Key and body of a file, or what is wrong with it.
pub(crate) fn read(mut file: Vec<u8>) -> Result<(Key, Vec<u8>), String> {
    let (key, sum, body) = {
        let mut rest = file.as_slice();
        let magic = take(&mut rest, MAGIC.len() as u64)?;
        if magic != MAGIC {
            return Err("it is no file of this cache, or of another version of it".into());
        }
        let length = length(&mut rest)?;
        if length > MAX_KEY {
            return Err("its beginning is damaged".into());
        }
        let text = take(&mut rest, length)?;
        let key = std::str::from_utf8(text).map_err(|_| "its beginning is damaged")?;
        let sum = take(&mut rest, DIGEST as u64)?.to_vec();
        let length = self::length(&mut rest)?;
        if (rest.len() as u64) < length {
            return Err(format!("it is cut short: {} bytes of {length}", rest.len()));
        }
        if rest.len() as u64 > length {
            return Err(format!("it is too long: {} bytes instead of {length}", rest.len()));
        }
        (Key(key.to_string()), sum, file.len() - rest.len())
    };
    file.drain(..body);
    if digest(key.0.as_bytes(), &file)[..] != sum[..] {
        return Err("its contents are damaged: the SHA-256 is another one".into());
    }
    Ok((key, file))
}

fn take<'a>(rest: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (taken, left) = rest.split_at_checked(count).ok_or("it is cut short")?;
    *rest = left;
    Ok(taken)
}

fn length(rest: &mut &[u8]) -> Result<u64, String> {
    let bytes = take(rest, 8)?.try_into().map_err(|_| "it is cut short")?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (Key, Vec<u8>, Vec<u8>) {
        let key = Key::new(&[("kind", "engine"), ("gpu", "NVIDIA\nH200"), ("shapes", "16x16")]);
        let body: Vec<u8> = (0..1000u32).map(|i| (i % 251) as u8).collect();
        let file = [head(&key, &body), body.clone()].concat();
        (key, body, file)
    }

    #[test]
    fn what_is_written_is_read() {
        let (key, body, file) = file();
        assert_eq!(read(file).unwrap(), (key.clone(), body));
        assert_eq!((key.get("gpu"), key.get("gp")), (Some("NVIDIA H200"), None));
        let empty = head(&key, &[]);
        assert_eq!(read(empty).unwrap(), (key, Vec::new()));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let (_, _, file) = file();
        for length in 0..file.len() {
            assert!(read(file[..length].to_vec()).is_err(), "cut to {length}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(read(changed).is_err(), "byte {at}");
        }
        assert!(read([file, vec![0]].concat()).unwrap_err().contains("too long"));
    }

    #[test]
    fn keys_differ_where_a_field_does() {
        let fields = [("onnx", "aa"), ("tensorrt", "10.3.0"), ("gpu", "NVIDIA H200")];
        let first = Key::new(&fields);
        for i in 0..fields.len() {
            let mut other = fields;
            other[i].1 = "other";
            assert_ne!(Key::new(&other).digest(), first.digest(), "{}", fields[i].0);
        }
        assert_eq!(Key::new(&fields).digest(), first.digest());
    }
}
