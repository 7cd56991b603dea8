//! The wire format of protocol buffers, as far as ONNX files take it: fields of varints, fixed words and bytes.
//!
//! Whoever reads knows which file it is: the errors, all [`ErrorKind::ModelInvalid`], say what is wrong in it.

use crate::error::{Error, ErrorKind, Result};

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Integers and enumerations.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes, floats among them.
    Fixed32(u32),
    /// Strings, nested messages, packed arrays.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes of a string, a nested message or a packed array.
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Value::Bytes(b) => Ok(b),
            other => Err(other.instead_of("bytes")),
        }
    }

    /// The text of a string.
    pub fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a name is not UTF-8"))
    }

    /// An integer.
    pub fn int(self) -> Result<i64> {
        match self {
            Value::Varint(v) => Ok(v as i64),
            other => Err(other.instead_of("an integer")),
        }
    }

    /// A float.
    pub fn float(self) -> Result<f32> {
        match self {
            Value::Fixed32(v) => Ok(f32::from_bits(v)),
            other => Err(other.instead_of("a float")),
        }
    }

    /// Adds an integer, or a packed array of them, to `list`.
    pub fn ints(self, list: &mut Vec<i64>) -> Result<()> {
        match self {
            Value::Bytes(bytes) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    list.push(varint(&mut rest)? as i64);
                }
            }
            other => list.push(other.int()?),
        }
        Ok(())
    }

    /// Adds a float, or a packed array of them, to `list`.
    pub fn floats(self, list: &mut Vec<f32>) -> Result<()> {
        match self {
            Value::Bytes(bytes) => list.extend(
                bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
            other => list.push(other.float()?),
        }
        Ok(())
    }

    fn instead_of(self, expected: &str) -> Error {
        let found = match self {
            Value::Varint(_) => "an integer",
            Value::Fixed64(_) => "eight bytes",
            Value::Fixed32(_) => "four bytes",
            Value::Bytes(_) => "text, a list or a message",
        };
        damaged(format_args!("expected {expected} in a field, found {found}"))
    }
}

/// The fields of a message, in the order of the file.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Reads a message field by field.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::ModelInvalid, what.to_string())
}

fn cut() -> Error {
    damaged("it ends in the middle of a field")
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for (i, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok(value);
        }
    }
    Err(cut())
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8]> {
    let len = usize::try_from(len).map_err(|_| cut())?;
    let (head, tail) = rest.split_at_checked(len).ok_or_else(cut)?;
    *rest = tail;
    Ok(head)
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u32, Value<'a>)> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| cut())?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => {
                let b = take(&mut self.rest, 8)?;
                Value::Fixed64(u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            }
            2 => {
                let len = varint(&mut self.rest)?;
                Value::Bytes(take(&mut self.rest, len)?)
            }
            5 => {
                let b = take(&mut self.rest, 4)?;
                Value::Fixed32(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            }
            other => {
                return Err(damaged(format_args!(
                    "expected a field of type 0, 1, 2 or 5, found type {other}"
                )));
            }
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a field to a message.
pub fn push(message: &mut Vec<u8>, number: u32, value: Value<'_>) {
    let mut head = |kind: u64| push_varint(message, u64::from(number) << 3 | kind);
    match value {
        Value::Varint(v) => {
            head(0);
            push_varint(message, v);
        }
        Value::Fixed64(v) => {
            head(1);
            message.extend(v.to_le_bytes());
        }
        Value::Bytes(bytes) => {
            head(2);
            push_varint(message, bytes.len() as u64);
            message.extend(bytes);
        }
        Value::Fixed32(v) => {
            head(5);
            message.extend(v.to_le_bytes());
        }
    }
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_wire_type() {
        // 1: varint 300; 2: "hi"; 3: 1.0f; 4: eight bytes; 5: packed 1, 2, 300.
        let message = [
            0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 1, 0, 0, 0, 0, 0, 0, 0, 0x2a, 4, 1, 2,
            0xac, 0x02,
        ];
        let found: Vec<_> = fields(&message).map(|f| f.unwrap()).collect();
        assert_eq!(found[0], (1, Value::Varint(300)));
        assert_eq!(found[1].1.text().unwrap(), "hi");
        assert_eq!(found[2].1.float().unwrap(), 1.0);
        assert_eq!(found[3], (4, Value::Fixed64(1)));
        let mut list = vec![];
        found[4].1.ints(&mut list).unwrap();
        assert_eq!(list, [1, 2, 300]);
        let mut written = vec![];
        for (number, value) in &found {
            push(&mut written, *number, *value);
        }
        assert_eq!(written, message, "written as it was read");
        for len in 1..message.len() {
            // Every cut is an end or an error, never a panic.
            let _ = fields(&message[..len]).collect::<Vec<_>>();
        }
        assert!(fields(&message[..2]).next().unwrap().is_err());
    }
}
